//! The promise: the admin port can be closed to everybody without credentials but health checks, as Prometheus's own
//! exporters can, and what names people is seen from this host or with credentials only.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use support::authority::Authority;
use support::exporter::{Exporter, command};
use support::http::{self, Connection, Response};
use support::prometheus::Prometheus;
use support::tls_client::{NAME, TlsClient};
use support::{Scratch, eventually};

const HEALTH: [&str; 4] = ["/livez", "/readyz", "/-/healthy", "/-/ready"];
const OTHERS: [&str; 4] = ["/metrics", "/", "/refused", "/nothing"];
const PASSWORD: &str = "correct horse";
const TOKEN: &str = "4f1c9a0e5d7b4f1c9a0e5d7b";

fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).expect("a hash")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

struct Files(Scratch);

impl Files {
    fn new() -> Files {
        Files(Scratch::new("admin-access"))
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let (path, new) = (self.0.0.join(name), self.0.0.join("new"));
        fs::write(&new, text).expect("written");
        fs::rename(&new, &path).expect("in its place");
        path
    }
}

fn with(flag: &str, file: &Path) -> Exporter {
    Exporter::with(&[flag, file.to_str().expect("text")])
}

fn ask(admin: SocketAddr, path: &str, authorization: &str) -> Response {
    http::request(admin, "GET", path, &[("authorization", authorization)])
}

#[test]
fn users_see_everything_and_others_only_whether_it_is_well() {
    let files = Files::new();
    let users = format!("basic_auth_users:\n  alice: {}\n", hash(PASSWORD));
    let exporter = with("--admin-web-config-file", &files.write("web.yml", users));
    for path in HEALTH {
        assert_eq!(exporter.admin(path).status, 200, "{path}");
    }
    for path in OTHERS {
        let answer = exporter.admin(path);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").expect("a challenge").starts_with("Basic "));
        assert!(!answer.text().contains("planet_"));
    }
    assert_eq!(http::request(exporter.admin, "POST", "/metrics", &[]).status, 401);
    // What was verified is known the second time.
    for _ in 0..2 {
        let right = basic("alice", PASSWORD);
        assert!(ask(exporter.admin, "/metrics", &right).text().contains("planet_exporter_build_info"));
        assert_eq!(ask(exporter.admin, "/refused", &right).status, 200);
        assert_eq!(ask(exporter.admin, "/nothing", &right).status, 404);
        for wrong in [&basic("alice", "wrong"), &basic("bob", PASSWORD), "Bearer x", "Basic", "Basic #"] {
            assert_eq!(ask(exporter.admin, "/metrics", wrong).status, 401, "{wrong}");
        }
    }
    let said = exporter.process.stderr.wait_for("refused for its credentials");
    assert!(!said.contains("wrong") && !said.contains("horse"), "{said}");
    exporter.process.stderr.wait_for("credentials come in the clear");
}

#[test]
fn users_change_while_it_runs_and_a_configuration_that_cannot_be_used_changes_nothing() {
    let files = Files::new();
    let users = |user: &str, password: &str| format!("basic_auth_users:\n  {user}: {}\n", hash(password));
    let exporter = with("--admin-web-config-file", &files.write("web.yml", users("alice", PASSWORD)));
    let status = |user: &str, password: &str| ask(exporter.admin, "/", &basic(user, password)).status;
    assert_eq!(status("alice", PASSWORD), 200);
    files.write("web.yml", "basic_auth_users:\n  alice: secret\n");
    let said = exporter.process.stderr.wait_for("changed and cannot be used");
    assert!(said.contains("web.yml") && !said.contains("secret"), "{said}");
    assert_eq!(status("alice", PASSWORD), 200);
    files.write("web.yml", "tls_server_config: {cert_file: a, key_file: b}\n");
    exporter.process.stderr.wait_for("needs a restart");
    files.write("web.yml", users("alice", "another"));
    eventually("the new password", || (status("alice", "another") == 200).then_some(()));
    assert_eq!(status("alice", PASSWORD), 401, "what was remembered is not believed");
    files.write("web.yml", users("bob", PASSWORD));
    eventually("the new user", || (status("bob", PASSWORD) == 200).then_some(()));
    assert_eq!(status("alice", "another"), 401);
}

#[test]
fn a_bearer_token_is_enough_and_can_be_changed_without_a_gap() {
    let files = Files::new();
    let exporter = with("--admin-bearer-token-file", &files.write("token", format!("{TOKEN}\n")));
    let status = |token: &str| ask(exporter.admin, "/refused", &format!("Bearer {token}")).status;
    assert_eq!((status(TOKEN), status(&TOKEN[1..]), exporter.admin("/metrics").status), (200, 401, 401));
    assert_eq!(exporter.admin("/readyz").status, 200);
    let new = "another-token-of-them";
    files.write("token", format!("{TOKEN}\n{new}\n"));
    eventually("the new token", || (status(new) == 200).then_some(()));
    assert_eq!(status(TOKEN), 200);
    files.write("token", "short");
    exporter.process.stderr.wait_for("changed and cannot be used");
    assert_eq!((status(TOKEN), status(new)), (200, 200));
    files.write("token", new);
    eventually("the end of the old token", || (status(TOKEN) == 401).then_some(()));
    assert_eq!(status(new), 200);
}

/// A request to /refused from this address of the host.
fn refused_from(address: [u8; 4], admin: SocketAddr) -> u16 {
    Connection::open_from(Ipv4Addr::from(address).into(), admin).get("/refused").status
}

#[test]
fn personal_data_is_for_this_host_and_not_for_whom_a_mesh_delivers() {
    const HERE: [u8; 4] = [127, 0, 0, 1];
    const MESH: [u8; 4] = [127, 0, 0, 6];
    let exporter = Exporter::start();
    assert_eq!(refused_from(HERE, exporter.admin), 200);
    for header in ["x-forwarded-for", "forwarded", "via"] {
        let answer = http::request(exporter.admin, "GET", "/refused", &[(header, "127.0.0.1")]);
        assert_eq!(answer.status, 403, "{header}");
    }
    assert_eq!(refused_from(HERE, exporter.admin), 200);
    assert_eq!(refused_from(MESH, exporter.admin), 403);
    exporter.process.stderr.wait_for("a mesh delivers requests");
    assert_eq!(refused_from(HERE, exporter.admin), 403);
    let allowed = Exporter::with(&["--admin-trust-loopback", "always"]);
    assert_eq!([refused_from(MESH, allowed.admin), refused_from(HERE, allowed.admin)], [403, 200]);
    let never = Exporter::with(&["--admin-trust-loopback", "never"]);
    assert_eq!(refused_from(HERE, never.admin), 403);
}

/// An exporter whose admin port speaks TLS and asks for a password, once it is ready.
fn behind_tls(files: &Files, authority: &Authority, more: &str) -> (Exporter, TlsClient) {
    let (certificate, key) = authority.issue(NAME);
    files.write("tls.crt", certificate);
    files.write("tls.key", key);
    let text = format!(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n{more}basic_auth_users:\n  alice: {}\n",
        hash(PASSWORD)
    );
    let web = files.write("web.yml", text);
    let exporter = Exporter::launch_unready(command().arg("--admin-web-config-file").arg(web));
    (exporter, TlsClient::trusting(authority))
}

#[test]
fn the_admin_port_speaks_tls_with_a_certificate_that_can_be_renewed() {
    let (files, authority) = (Files::new(), Authority::new("admin-tls"));
    let (exporter, client) = behind_tls(&files, &authority, "  min_version: TLS13\n");
    eventually("readiness", || {
        client.get(exporter.admin, "/readyz", "").ok().filter(|answer| answer.status == 200)
    });
    assert_eq!(client.get(exporter.admin, "/metrics", "").expect("an answer").status, 401);
    let right = format!("authorization: {}\r\n", basic("alice", PASSWORD));
    let page = client.get(exporter.admin, "/metrics", &right).expect("an answer").text();
    assert!(page.contains("planet_exporter_certificate_expiry_time_seconds{listener=\"admin\"}"), "{page}");
    assert_eq!(http::get(exporter.admin, "/metrics").status, 400, "plain HTTP");

    let shown = || client.connect(exporter.admin).expect("a connection").peer_certificate();
    let old = shown();
    let (certificate, key) = authority.issue(NAME);
    files.write("tls.crt", certificate);
    files.write("tls.key", key);
    eventually("the renewed certificate", || (shown() != old).then_some(()));
}

#[test]
fn a_real_prometheus_scrapes_with_a_password_over_tls() {
    let (files, authority) = (Files::new(), Authority::new("admin-prometheus"));
    let (exporter, _) = behind_tls(&files, &authority, "");
    let ca = authority.file("ca.pem", &authority.issuer.pem());
    let job = |name: &str, password: &str| {
        format!(
            "  - job_name: {name}\n    scheme: https\n    basic_auth: {{username: alice, password: '{password}'}}\n    \
             tls_config: {{ca_file: '{}', server_name: {NAME}}}\n    static_configs: [{{targets: ['{}']}}]\n",
            ca.display(),
            exporter.admin
        )
    };
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n{}{}",
        job("right", PASSWORD),
        job("wrong", "wrong")
    );
    let mut prometheus = Prometheus::configured(Path::new("prometheus"), &text, &[]);
    prometheus.wait_until("up{job=\"right\"}", |up| up == 1.0);
    prometheus.wait_until("planet_exporter_build_info{job=\"right\"}", |value| value == 1.0);
    prometheus.wait_until("up{job=\"wrong\"}", |up| up == 0.0);
}

#[test]
fn what_a_web_configuration_has_that_is_not_known_here_is_named_at_the_start() {
    let files = Files::new();
    let web = files.write("web.yml", "http_server_config:\n  http2: true\n");
    for subcommand in [None, Some("check")] {
        let output = command()
            .args(subcommand)
            .arg("--admin-web-config-file")
            .arg(&web)
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .output()
            .expect("the exporter runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("text");
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in ["--admin-web-config-file", "web.yml", "http_server_config"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}
