//! The attacks, in the order in which they are made.

use super::behind::{LARGE, Misdeed};
use super::crowd::{Bytes, Crowd, Layer, Manner, Port};
use super::requests::{
    HTTP_2, TLS_HELLO, call, calls_of_forged_idcs, calls_with, endless_hello, garbage, garbage_for_tls, get,
    pipeline, poison, post, request_of, same, smuggled,
};

/// More clients than there are places on a port.
const CROWD: usize = 1_030;

/// Clients that are slow, each in its way.
const SLOW: usize = 256;

/// Clients that send as much as they can.
const FLOOD: usize = 4;

/// The secret that honest clients know.
pub const SECRET: &str = "51bd-the-secret-of-honest-clients";

/// How the exporter runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// With nothing but its defaults.
    Memory,
    /// With a state directory.
    Stored,
    /// With a state directory and a service behind, which gets calls from the journal.
    Behind,
    /// With a service behind that answers calls itself.
    Inline,
    /// With a state directory and a secret of calls.
    Secret,
    /// With its defaults, many series and many requests that were refused.
    LargePages,
    /// With nothing, and 64 descriptors.
    FewDescriptors,
    /// With TLS on both ports.
    Tls,
}

/// What is done to it.
pub enum Act {
    /// Hostile clients come.
    Crowd(Crowd),
    /// The service behind turns bad.
    Behind(Misdeed),
}

/// An attack.
pub struct Attack {
    pub name: String,
    pub setting: Setting,
    pub act: Act,
}

/// All attacks.
pub fn all() -> Vec<Attack> {
    let groups = [
        crowds as fn(&mut Attacks),
        slow_clients,
        floods,
        no_http,
        smuggling,
        pipelines,
        labels,
        poisonous_calls,
        forged_calls,
        bad_services,
        over_tls,
    ];
    let mut attacks = Attacks(Vec::new());
    groups.into_iter().for_each(|group| group(&mut attacks));
    attacks.0
}

struct Attacks(Vec<Attack>);

impl Attacks {
    fn add(
        &mut self,
        name: &str,
        setting: Setting,
        port: Port,
        clients: usize,
        manner: Manner,
        bytes: Bytes,
    ) {
        let crowd = Crowd { port, clients, layer: Layer::Tcp, manner, bytes };
        self.add_crowd(name, setting, crowd);
    }

    fn add_crowd(&mut self, name: &str, setting: Setting, crowd: Crowd) {
        let name = format!("{name}, {}", crowd.port.as_str());
        self.0.push(Attack { name, setting, act: Act::Crowd(crowd) });
    }
}

fn crowds(attacks: &mut Attacks) {
    for port in Port::BOTH {
        for (name, bytes) in
            [("silent", ""), ("one byte", "G"), ("half a head", "GET / HTTP/1.1\r\nhost: a\r\nx-a")]
        {
            let name = format!("{CROWD} connections, {name}");
            attacks.add(&name, Setting::Memory, port, CROWD, Manner::Stays, same(bytes));
        }
        attacks.add(
            "connections that come and go",
            Setting::Stored,
            port,
            CROWD,
            Manner::Goes,
            same(get("/", "")),
        );
    }
}

fn slow_clients(attacks: &mut Attacks) {
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-a: {}", "x".repeat(10_000));
    for port in Port::BOTH {
        attacks.add("slow heads", Setting::Memory, port, SLOW, Manner::Drips, same(&head));
    }
    let length = "content-length: 1000000\r\n";
    for (name, port, setting, path, head, body) in [
        ("slow bodies to the callback", Port::CallEvents, Setting::Memory, "/call_event", length, "x"),
        ("slow bodies through to the service", Port::CallEvents, Setting::Behind, "/notify", length, "x"),
        (
            "slow chunks through",
            Port::CallEvents,
            Setting::Behind,
            "/notify",
            "transfer-encoding: chunked\r\n",
            "1\r\nx\r\n",
        ),
        ("slow bodies", Port::Admin, Setting::Memory, "/metrics", length, "x"),
    ] {
        let bytes = same(post(path, head, &body.repeat(10_000)));
        // The head comes at once; a body in drops is a matter of its own.
        attacks.add(name, setting, port, SLOW, Manner::DripsTheBody, bytes);
    }
    let large = "accept: application/openmetrics-text\r\naccept-encoding: gzip\r\n";
    for (port, setting, path, head) in [
        (Port::Admin, Setting::LargePages, "/metrics", ""),
        (Port::Admin, Setting::LargePages, "/metrics", large),
        (Port::Admin, Setting::LargePages, "/refused", ""),
        (Port::Admin, Setting::LargePages, "/status.json", ""),
        (Port::Admin, Setting::LargePages, "/usage", ""),
        (Port::Admin, Setting::LargePages, "/why", ""),
        (Port::Admin, Setting::LargePages, "/calls?limit=10000", ""),
        (Port::Admin, Setting::LargePages, "/calls?limit=10000&follow=1", ""),
        (Port::Admin, Setting::LargePages, "/report?since=1h", ""),
        (Port::Admin, Setting::LargePages, "/readyz?verbose", ""),
        (Port::Admin, Setting::LargePages, "/livez", ""),
        (Port::Admin, Setting::LargePages, "/", ""),
        (Port::CallEvents, Setting::Memory, "/call_event", ""),
        (Port::CallEvents, Setting::Memory, "/call_event?sid=refused", ""),
        (Port::CallEvents, Setting::Behind, LARGE, ""),
    ] {
        let compressed = if head.is_empty() { "" } else { ", compressed" };
        let requests = same(get(path, head).repeat(100));
        for (name, manner) in [("nobody takes", Manner::IsDeaf), ("taken byte by byte:", Manner::Sips)] {
            let name = format!("answers {name} {path}{compressed}");
            attacks.add(&name, setting, port, SLOW, manner, requests.clone());
        }
    }
}

fn floods(attacks: &mut Attacks) {
    for setting in [Setting::Memory, Setting::Stored, Setting::Behind] {
        let name = format!("{CROWD} connections full of calls ({setting:?})");
        let calls: Bytes = std::sync::Arc::new(|_| request_of(&call()).into_bytes());
        attacks.add(&name, setting, Port::CallEvents, CROWD, Manner::GoesOn, calls);
    }
    let pages = same(get("/metrics", ""));
    attacks.add("scrapes without end", Setting::Memory, Port::Admin, SLOW, Manner::GoesOn, pages);
    for port in Port::BOTH {
        attacks.add("resets at once", Setting::Memory, port, SLOW, Manner::Resets, same(""));
        let requests = same(get("/", "").repeat(10));
        attacks.add("resets before the answers", Setting::Memory, port, SLOW, Manner::Resets, requests);
    }
    for (name, manner, bytes) in [
        ("silent", Manner::Stays, ""),
        ("half a head", Manner::Stays, "GET / HTTP/1.1\r\nhost: a\r\nx-a"),
        ("come and go", Manner::Goes, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let name = format!("64 descriptors, 100 connections, {name}");
        attacks.add(&name, Setting::FewDescriptors, Port::CallEvents, 100, manner, same(bytes));
    }
}

fn no_http(attacks: &mut Attacks) {
    let long = |length: usize| "x".repeat(length);
    for port in Port::BOTH {
        for (name, bytes) in [
            (
                "URIs of 60 KiB",
                same(get(&format!("/call_event?x={}", long(60 * 1024)), "connection: close\r\n")),
            ),
            ("URIs of 1 MiB", same(get(&format!("/call_event?x={}", long(1024 * 1024)), ""))),
            ("heads of 1 MiB", same(get("/", &format!("x-a: {}\r\n", long(1024 * 1024))))),
            ("heads of 100,000 lines", same(get("/", &"x-a: y\r\n".repeat(100_000)))),
            ("garbage", garbage(4 * 1024)),
            ("TLS", same(TLS_HELLO)),
            ("HTTP/2", same(HTTP_2)),
        ] {
            attacks.add(name, Setting::Memory, port, SLOW, Manner::Stays, bytes);
        }
        attacks.add("garbage without end", Setting::Memory, port, SLOW, Manner::GoesOn, garbage(64 * 1024));
    }
}

fn smuggling(attacks: &mut Attacks) {
    for (name, request) in smuggled() {
        let name = format!("smuggling by {name}");
        attacks.add(&name, Setting::Inline, Port::CallEvents, 16, Manner::Goes, same(request));
    }
}

fn pipelines(attacks: &mut Attacks) {
    let port = Port::CallEvents;
    for (setting, manner) in [(Setting::Memory, Manner::Stays), (Setting::Behind, Manner::IsDeaf)] {
        let name = format!(
            "pipelines of 10,000 calls, {}",
            if manner == Manner::Stays { "taken" } else { "not taken" }
        );
        attacks.add(&name, setting, port, FLOOD, manner, pipeline(10_000, || request_of(&call())));
    }
    attacks.add(
        "pipelines of 10,000 requests to the service",
        Setting::Behind,
        port,
        FLOOD,
        Manner::Stays,
        pipeline(10_000, || get("/notify", "")),
    );
    for path in ["/livez", "/metrics"] {
        let name = format!("pipelines of 10,000 {path}");
        let bytes = pipeline(10_000, move || get(path, ""));
        attacks.add(&name, Setting::Memory, Port::Admin, FLOOD, Manner::Stays, bytes);
    }
}

fn labels(attacks: &mut Attacks) {
    let port = Port::CallEvents;
    for parameter in
        ["rel_code_str", "rel_code", "user_rel_code", "rc_idc", "to_service_id", "disconnect_reason", "type"]
    {
        let name = format!("a new {parameter} with each call");
        let calls = calls_with(parameter, |number| number.to_string());
        attacks.add(&name, Setting::Memory, port, FLOOD, Manner::GoesOn, calls);
    }
    attacks.add("forged IDCs", Setting::Memory, port, FLOOD, Manner::GoesOn, calls_of_forged_idcs());
    attacks.add("forged IDCs, stored", Setting::Stored, port, FLOOD, Manner::GoesOn, calls_of_forged_idcs());
}

fn poisonous_calls(attacks: &mut Attacks) {
    for (name, bytes) in poison() {
        let manner = if name == "raw bytes" { Manner::Stays } else { Manner::GoesOn };
        attacks.add(&format!("calls with {name}"), Setting::Behind, Port::CallEvents, FLOOD, manner, bytes);
    }
}

fn forged_calls(attacks: &mut Attacks) {
    let wrong = |secret: &'static str| -> Bytes {
        std::sync::Arc::new(move |_| {
            let calls = (0..100).map(|_| get(&format!("/call_event?{secret}{}", call().encode()), ""));
            calls.collect::<String>().into_bytes()
        })
    };
    for (name, secret) in
        [("without the secret", ""), ("with a wrong secret", "secret=51bd-the-secret-of-nobody-at-all&")]
    {
        let name = format!("forged calls {name}");
        attacks.add(&name, Setting::Secret, Port::CallEvents, FLOOD, Manner::GoesOn, wrong(secret));
    }
}

fn bad_services(attacks: &mut Attacks) {
    for setting in [Setting::Inline, Setting::Behind] {
        let mode = if setting == Setting::Inline { "inline" } else { "stored" };
        for (misdeed, name) in Misdeed::ALL {
            let name = format!("the service behind {name}, {mode}");
            attacks.0.push(Attack { name, setting, act: Act::Behind(misdeed) });
        }
    }
}

/// On ports that speak TLS. Honest clients do as well.
fn over_tls(attacks: &mut Attacks) {
    let request = || same(get("/", ""));
    // Its last bytes, so that the record is whole.
    let hello = || same([TLS_HELLO, &[0; 4]].concat());
    let half = || same("GET / HTTP/1.1\r\nhost: a\r\nx-a");
    let slow = || same(format!("GET / HTTP/1.1\r\nhost: a\r\nx-a: {}", "x".repeat(10_000)));
    for port in Port::BOTH {
        for (name, clients, layer, manner, bytes) in [
            ("handshakes of one byte", CROWD, Layer::Tcp, Manner::Stays, same([0x16])),
            ("hellos in drops", SLOW, Layer::Tcp, Manner::Drips, same(endless_hello())),
            ("half a hello", CROWD, Layer::Tcp, Manner::Stays, same(endless_hello())),
            ("garbage that begins as a hello", SLOW, Layer::Tcp, Manner::Stays, garbage_for_tls(4 * 1024)),
            ("plain HTTP", CROWD, Layer::Tcp, Manner::Stays, request()),
            ("handshakes without end", SLOW, Layer::Tls, Manner::Resets, same("")),
            ("a handshake for each request", SLOW, Layer::Tls, Manner::Goes, request()),
            ("silent after the handshake", CROWD, Layer::Tls, Manner::Stays, same("")),
            ("half a head", CROWD, Layer::Tls, Manner::Stays, half()),
            ("slow heads", SLOW, Layer::Tls, Manner::Drips, slow()),
            ("other keys without end", SLOW, Layer::Tls, Manner::ChangesKeys, same("")),
            ("garbage after the handshake", SLOW, Layer::BelowTls, Manner::Stays, garbage(4 * 1024)),
            ("another hello after the handshake", SLOW, Layer::BelowTls, Manner::Stays, hello()),
        ] {
            let name = format!("TLS: {clients} connections, {name}");
            attacks.add_crowd(&name, Setting::Tls, Crowd { port, clients, layer, manner, bytes });
        }
    }
}
