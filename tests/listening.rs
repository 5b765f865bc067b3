//! The promise: it listens wherever it is started, on both families unless it is told otherwise, knows its peers by their own
//! addresses, and says what to change where it cannot listen or would talk to itself.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::process::Command;

use support::call::{CallEventQuery, DOCUMENTED_SAMPLE};
use support::exporter::{CALL_EVENT_PATH, Exporter, command};
use support::free_address;
use support::http::{self, Connection};
use support::process::Process;
use support::service::Service;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const LOOPBACK_6: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// Starts the exporter where `listen` says, with its admin port likewise.
fn listening(listen: &str, arguments: &[&str]) -> Exporter {
    let listen = ["--listen", listen, "--admin-listen", listen];
    Exporter::launch_as_it_is(command().args(listen).args(arguments))
}

/// Runs the exporter to its end, which must be one with 1, and answers what it said.
fn refused(command: &mut Command) -> String {
    let mut exporter = Process::start("planet-call-exporter", command);
    let status = exporter.wait();
    let said = exporter.stderr.wait_for("planet-call-exporter: ");
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

/// The addresses in the log's first line about this field.
fn logged(exporter: &Exporter, field: &str) -> Vec<SocketAddr> {
    let line = exporter.process.stderr.wait_for("is listening");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    let urls = line[field].as_str().expect("URLs").split(", ").map(|url| url.trim_start_matches("http://"));
    urls.map(|url| url.split('/').next().unwrap_or_default().parse().expect("an address")).collect()
}

/// The loopback addresses of this machine: of both families, or of IPv4 where that is all there is.
#[allow(clippy::print_stderr, reason = "a test says what it could not look at")]
fn loopback_addresses() -> Vec<IpAddr> {
    match TcpListener::bind((LOOPBACK_6, 0)) {
        Ok(_) => vec![LOOPBACK.into(), LOOPBACK_6.into()],
        Err(error) => {
            eprintln!("this machine has no IPv6 ({error}); what is left without it is looked at instead");
            vec![LOOPBACK.into()]
        }
    }
}

#[test]
fn a_port_alone_is_every_address_of_both_families_and_peers_are_known_by_their_own() {
    let service = Service::start();
    let exporter = listening(":0", &["--log-level", "debug", "--forward-to", &service.url()]);
    let addresses = loopback_addresses();
    let unspecified = match addresses.len() {
        1 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    for (field, port) in [("call_events", exporter.call_events.port()), ("admin", exporter.admin.port())] {
        assert_eq!(logged(&exporter, field), [SocketAddr::new(unspecified, port)]);
    }
    for (number, address) in addresses.iter().enumerate() {
        let call_events = SocketAddr::new(*address, exporter.call_events.port());
        let admin = SocketAddr::new(*address, exporter.admin.port());
        let query = CallEventQuery::new(number).encode();
        assert_eq!(http::get(call_events, &format!("{CALL_EVENT_PATH}?{query}")).status, 200, "{address}");
        assert_eq!(http::get(call_events, "/other").status, 200);
        let other = service.requests().into_iter().filter(|request| request.target == "/other");
        let known_as: Vec<_> =
            other.map(|request| request.header("x-forwarded-for").expect("an address").to_owned()).collect();
        assert_eq!(known_as.last(), Some(&address.to_string()));
        assert_eq!(http::get(admin, "/refused").status, 200, "{address} is this host");
        assert_eq!(http::get(admin, "/readyz").status, 200);
        // The service answers what cannot be a call.
        assert_eq!(http::get(call_events, &format!("{CALL_EVENT_PATH}?wrong")).status, 200);
        let peer = format!("\"peer\":\"{}", SocketAddr::new(*address, 0).to_string().trim_end_matches('0'));
        exporter.process.stderr.wait_for(&peer);
    }
    assert_eq!(exporter.accepted(), addresses.len() as f64);
    assert_eq!(exporter.process.stderr.find("::ffff:"), None);
}

#[test]
fn a_load_balancer_of_ipv4_is_trusted_by_its_own_address() {
    let service = Service::start();
    let url = service.url();
    let proxied = ["--proxy-protocol", "required", "--trusted-proxies", "127.0.0.0/8", "--forward-to", &url];
    let exporter = listening(":0", &proxied);
    let known_as = |address: IpAddr, header: &str| {
        let mut connection = Connection::open(SocketAddr::new(address, exporter.call_events.port()));
        connection.send(format!("{header}GET /other HTTP/1.1\r\nhost: test\r\n\r\n"));
        assert_eq!(connection.receive().status, 200, "{address}");
        let last = service.requests().pop().expect("a request");
        last.header("x-forwarded-for").expect("an address").to_owned()
    };
    let of_ipv4 = "PROXY TCP4 203.0.113.7 127.0.0.1 4711 20200\r\n";
    let mapped = "PROXY TCP6 ::ffff:203.0.113.8 ::1 4711 20200\r\n";
    assert_eq!(known_as(LOOPBACK.into(), of_ipv4), "203.0.113.7");
    assert_eq!(known_as(LOOPBACK.into(), mapped), "203.0.113.8");
    for other in loopback_addresses().into_iter().skip(1) {
        assert_eq!(known_as(other, ""), "::1", "it is not among the trusted");
    }
}

#[test]
fn an_address_is_that_address_alone_and_a_name_is_all_that_it_has() {
    let of_ipv4 = listening("0.0.0.0:0", &[]);
    assert_eq!(of_ipv4.call_events.ip(), IpAddr::from(Ipv4Addr::UNSPECIFIED));
    assert_eq!(http::get((LOOPBACK, of_ipv4.admin.port()).into(), "/livez").status, 200);
    if loopback_addresses().len() == 2 {
        assert!(Connection::try_open((LOOPBACK_6, of_ipv4.admin.port()).into()).is_err());
        let of_ipv6 = listening("[::1]:0", &[]);
        assert_eq!(of_ipv6.send(DOCUMENTED_SAMPLE).status, 200);
        assert!(Connection::try_open((LOOPBACK, of_ipv6.admin.port()).into()).is_err());
        let of_both = listening("[::]:0", &[]);
        assert_eq!(http::get((LOOPBACK, of_both.admin.port()).into(), "/livez").status, 200);
        assert_eq!(http::get((LOOPBACK_6, of_both.admin.port()).into(), "/livez").status, 200);
    }

    let of_name = listening("localhost:0", &[]);
    let of_this_name: BTreeSet<_> =
        ("localhost", 0).to_socket_addrs().expect("addresses").map(|address| address.ip()).collect();
    for field in ["call_events", "admin"] {
        let addresses = logged(&of_name, field);
        assert_eq!(addresses.iter().map(SocketAddr::ip).collect::<BTreeSet<_>>(), of_this_name);
        assert!(addresses.iter().all(|address| address.port() == addresses[0].port()), "{addresses:?}");
    }
    for admin in logged(&of_name, "admin") {
        assert_eq!(http::get(admin, "/refused").status, 200, "{admin}");
    }
}

/// Runs a program as on a kernel without IPv6: a filter of system calls lets every such socket fail as that would.
const WITHOUT_IPV6: &str = r#"
import ctypes, os, platform, struct, sys
socket, af_inet6, eafnosupport = {"x86_64": 41, "aarch64": 198}[platform.machine()], 10, 97
load, equal, answer = 0x20, 0x15, 0x06
program = [(load, 0, 0, 0), (equal, 0, 3, socket), (load, 0, 0, 16), (equal, 0, 1, af_inet6),
           (answer, 0, 0, 0x00050000 | eafnosupport), (answer, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
program = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, program) != 0:
    sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"#;

fn command_without_ipv6() -> Command {
    let mut python = Command::new("python3");
    python.args(["-c", WITHOUT_IPV6]).arg(command().get_program());
    python
}

#[test]
fn a_port_alone_is_ipv4_where_the_kernel_has_no_ipv6() {
    let exporter =
        Exporter::launch_as_it_is(command_without_ipv6().args(["--listen", ":0", "--admin-listen", ":0"]));
    let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    assert_eq!((exporter.call_events.ip(), exporter.admin.ip()), (any, any));
    assert_eq!(exporter.send(DOCUMENTED_SAMPLE).status, 200);

    // Who asks for it is told.
    let explicit = ["--listen", "[::]:0", "--admin-listen", "127.0.0.1:0"];
    let said = refused(command_without_ipv6().args(explicit));
    assert!(
        said.contains("cannot listen on [::]:0 for call_events") && said.contains("not supported"),
        "{said}"
    );
}

#[test]
fn where_it_cannot_listen_it_says_why_and_what_to_change() {
    let taken = TcpListener::bind((LOOPBACK, 0)).expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    // Whether this takes the port or somebody has it already, it is in use.
    let _of_an_application = TcpListener::bind("127.77.0.1:9464");
    let no_such_name = "no-such-host.invalid:0";
    let free = "127.0.0.1:0";
    for (listen, admin, expected) in [
        (taken.as_str(), free, &["call_events", "in use", "--listen or PLANET_LISTEN"][..]),
        (free, &taken, &["admin", "in use", "--admin-listen or PLANET_ADMIN_LISTEN"]),
        (
            free,
            "127.77.0.1:9464",
            &["in use", "OpenTelemetry SDKs' Prometheus exporters", "PLANET_ADMIN_LISTEN"],
        ),
        ("192.0.2.1:0", free, &["192.0.2.1:0", "since this host has no such address", "PLANET_LISTEN"]),
        (free, no_such_name, &[no_such_name, "lookup", "PLANET_ADMIN_LISTEN"]),
    ] {
        let said = refused(command().args(["--listen", listen, "--admin-listen", admin]));
        for part in expected {
            assert!(said.contains(part), "{part:?} is in {said}");
        }
        assert_eq!(said.contains("OpenTelemetry"), admin.ends_with(":9464"), "{said}");
    }
}

/// An address by which this host would be reached from elsewhere, if there is one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent.
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[test]
fn forwarding_to_a_port_of_its_own_is_refused_by_whatever_name() {
    let (listen, admin) = (free_address().port(), free_address().port());
    let own_name = Command::new("hostname").output().expect("a name").stdout;
    let own_name = String::from_utf8(own_name).expect("a name").trim().to_owned();
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "0.0.0.0".to_owned(), own_name];
    hosts.extend(loopback_addresses().get(1).map(|address| format!("[{address}]")));
    hosts.extend(own_address().map(|address| address.to_string()));
    let arguments = |url: &str| {
        let (listen, admin) = (format!(":{listen}"), format!(":{admin}"));
        ["--listen", &listen, "--admin-listen", &admin, "--forward-to", url].map(str::to_owned)
    };
    for host in &hosts {
        for (port, flag) in [(listen, "--listen"), (admin, "--admin-listen")] {
            let url = format!("http://{host}:{port}");
            let said = refused(command().args(arguments(&url)));
            assert!(said.contains(&format!("--forward-to {url} is where {flag} listens")), "{said}");
        }
    }
    // Another host, of which nobody knows more, and a name that is not known yet.
    for host in ["192.0.2.1", "[2001:db8::1]", "no-such-host.invalid"] {
        for port in [listen, admin] {
            let mut command = command();
            command.args(arguments(&format!("http://{host}:{port}")));
            assert_eq!(Exporter::launch_as_it_is(&mut command).admin("/readyz").status, 200, "{host}");
        }
    }
}

#[test]
fn a_service_on_the_same_port_of_another_address_is_no_loop() {
    let service = Service::start();
    let port = service.url().rsplit(':').next().expect("a port").to_owned();
    // The service is at 127.0.0.1.
    let exporter = Exporter::launch_as_it_is(
        command()
            .args(["--listen", &format!("127.77.0.2:{port}"), "--admin-listen", "127.0.0.1:0"])
            .args(["--forward-to", &service.url()]),
    );
    assert_eq!(exporter.get("/other").status, 200);
    assert_eq!(service.requests().len(), 1);
}
