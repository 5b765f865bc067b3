//! One attack: an exporter of its own, honest clients without the attack and beside it, and what is to be said of both.

use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

use super::attacks::{Act, Attack, SECRET, Setting};
use super::behind::{Behind, Misdeed};
use super::crowd::Port;
use super::honest::{Expected, Honest, IDC, Seen};
use super::requests;
use super::vitals::{Asked, Kubelet, Vitals, is_alive, promised_kib};
use super::wire::Wire;
use crate::support::authority::Authority;
use crate::support::exporter::{CALL_EVENT_PATH, Exporter, command, command_under};
use crate::support::http::Connection;
use crate::support::scrape::Page;
use crate::support::tls_client::{NAME, TlsClient};
use crate::support::{Scratch, free_address, listen_address};

/// The head of the table.
pub const HEADING: &str =
    "| attack | honest p99 quiet | during | ratio | peak memory | lost |\n|---|---|---|---|---|---|";

/// How long the exporter may take until it is as it was before.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the exporter counts of attacks, so that it is seen that they arrived.
const COUNTED: [(&str, &str); 9] = [
    ("requests", "planet_exporter_requests_total"),
    ("evicted connections", "planet_exporter_evicted_connections_total"),
    ("rejected connections", "planet_exporter_rejected_connections_total"),
    ("failures to accept", "planet_exporter_accept_failures_total"),
    ("invalid requests", "planet_exporter_invalid_requests_total"),
    ("turned away", "planet_exporter_turned_away_requests_total"),
    ("label overflows", "planet_exporter_label_overflows_total"),
    ("failures behind", "planet_exporter_proxy_failures_total"),
    ("quarantined", "planet_exporter_quarantined_events_total"),
];

/// What came of an attack.
#[derive(Debug, Default)]
pub struct Verdict {
    quiet: Option<Duration>,
    during: Option<Duration>,
    peak_kib: usize,
    lost: usize,
    /// What is wrong: the command fails for it.
    wrong: Vec<String>,
    /// What a person should know.
    remarks: Vec<String>,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    /// A row of the table, and below it what has to be said.
    pub fn row(&self, name: &str) -> String {
        let time = |time: Option<Duration>| match time {
            Some(time) => format!("{:.1} ms", 1_000.0 * time.as_secs_f64()),
            None => "none".to_owned(),
        };
        let ratio = match (self.quiet, self.during) {
            (Some(quiet), Some(during)) => format!("{:.1}", during.as_secs_f64() / quiet.as_secs_f64()),
            _ => "none".to_owned(),
        };
        let (quiet, during, mib) = (time(self.quiet), time(self.during), self.peak_kib.div_ceil(1024));
        let mut row = format!("| {name} | {quiet} | {during} | {ratio} | {mib} MiB | {} |\n", self.lost);
        for (kind, lines) in [("WRONG: ", &self.wrong), ("", &self.remarks)] {
            lines.iter().for_each(|line| writeln!(row, "      {kind}{line}").expect("text"));
        }
        row
    }
}

/// Makes an attack. What makes it impossible is wrong as well.
pub fn attempt(attack: &Attack, length: Duration) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| make(attack, length))).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|why| (*why).to_owned()));
        Verdict {
            wrong: vec![why.unwrap_or_else(|| "a panic without words".to_owned())],
            ..Verdict::default()
        }
    })
}

/// The exporter of an attack, and what it needs.
struct Scene {
    exporter: Exporter,
    behind: Option<Behind>,
    wire: Wire,
    _authority: Option<Authority>,
    _scratch: Scratch,
}

impl Scene {
    fn of(attack: &Attack) -> Scene {
        let setting = attack.setting;
        let scratch = Scratch::new("hostile");
        let mut command = match setting {
            Setting::FewDescriptors => command_under("ulimit -n 64"),
            _ => command(),
        };
        if is_stored(setting) {
            command.arg("--state-dir").arg(scratch.0.join("state"));
        }
        let address = match attack.act {
            // It comes back to the port.
            Act::Behind(Misdeed::Refuses) => listen_address(),
            _ => free_address(),
        };
        let behind = has_service(setting).then(|| Behind::start_at(address));
        if let Some(behind) = &behind {
            with_service(&mut command, setting, behind);
            if matches!(attack.act, Act::Behind(_)) {
                // So that who hangs does so many times in a short attack.
                command.args(["--forward-timeout", "1s"]);
            }
        }
        if setting == Setting::Secret {
            let file = scratch.0.join("secret");
            fs::write(&file, SECRET).expect("a file of the secret");
            command.arg("--call-event-secret-file").arg(&file);
        }
        let authority = (setting == Setting::Tls).then(|| Authority::new("hostile-tls"));
        let (exporter, wire) = match &authority {
            None => (Exporter::launch(&mut command), Wire::Plain),
            Some(authority) => {
                speak_tls(&mut command, authority);
                let wire = Wire::Tls(TlsClient::trusting(authority));
                (Exporter::launch_unready(&mut command), wire)
            }
        };
        let is_ready =
            || wire.get(exporter.admin, "/readyz", PATIENCE).is_ok_and(|answer| answer.status == 200);
        wait_until(is_ready);
        if setting == Setting::LargePages {
            fill_pages(&exporter);
        }
        Scene { exporter, behind, wire, _authority: authority, _scratch: scratch }
    }

    fn page(&self) -> Option<Page> {
        let answer = self.wire.get(self.exporter.admin, "/metrics", PATIENCE).ok()?;
        (answer.status == 200).then(|| Page::read(&answer.text()))
    }

    fn vitals(&self) -> Option<Vitals> {
        Vitals::of(self.exporter.process.id())
    }
}

/// Makes the pages of the admin port large: thousands of series, and as many refused requests as are kept, each of
/// which is long.
fn fill_pages(exporter: &Exporter) {
    let mut connection = Connection::open(exporter.call_events);
    let calls = requests::calls_of_forged_idcs();
    for burst in 0..60 {
        connection.send(calls(burst));
        (0..requests::BURST).for_each(|_| assert_eq!(connection.receive().status, 200));
    }
    // Each byte of it is six in JSON.
    let refused = requests::get(&format!("{CALL_EVENT_PATH}?{}", "\u{202e}".repeat(10_000)), "");
    for _ in 0..200 {
        connection.send(&refused);
        assert_eq!(connection.receive().status, 400);
    }
}

fn with_service(command: &mut Command, setting: Setting, behind: &Behind) {
    let mode = if setting == Setting::Inline { "inline" } else { "stored" };
    command.args(["--forward-to", &format!("http://{}", behind.address), "--forward-mode", mode]);
}

/// TLS on both ports, with a certificate of this authority.
fn speak_tls(command: &mut Command, authority: &Authority) {
    let (certificate, key) = authority.issue(NAME);
    let certificate = authority.file("tls.crt", &certificate);
    let key = authority.file("tls.key", &key);
    let web = format!(
        "tls_server_config:\n  cert_file: {}\n  key_file: {}\n",
        certificate.display(),
        key.display()
    );
    command.arg("--tls-cert-file").arg(certificate).arg("--tls-key-file").arg(key);
    command.arg("--admin-web-config-file").arg(authority.file("web.yml", &web));
}

fn is_stored(setting: Setting) -> bool {
    matches!(setting, Setting::Stored | Setting::Behind | Setting::Secret)
}

fn has_service(setting: Setting) -> bool {
    matches!(setting, Setting::Behind | Setting::Inline)
}

fn make(attack: &Attack, length: Duration) -> Verdict {
    let mut scene = Scene::of(attack);
    let (call_events, admin) = (scene.exporter.call_events, scene.exporter.admin);
    let secret = (attack.setting == Setting::Secret).then_some(SECRET);
    let expected = match (&attack.act, attack.setting) {
        (Act::Behind(_), Setting::Inline) => Expected::Anything,
        _ => Expected::Ok,
    };
    let honest = Honest::new(call_events, scene.wire.clone(), secret, expected);
    let mut verdict = Verdict::default();

    // The first calls find nothing ready.
    let mut all = vec![honest.measure(Duration::from_millis(300)), honest.measure(length)];
    verdict.quiet = all[1].p99();
    wait_until(|| scene.page().is_some_and(|page| page.sum("planet_exporter_connections") <= 1.0));
    let before = scene.vitals();

    let kubelet = Kubelet::at(admin, scene.wire.clone());
    let during = match &attack.act {
        Act::Crowd(crowd) => {
            let address = if crowd.port == Port::CallEvents { call_events } else { admin };
            let at_work = crowd.attack(address, scene.wire.full_handshakes());
            let seen = honest.measure(length);
            let times = at_work.over();
            verdict.remarks.push(format!("{times} times"));
            seen
        }
        Act::Behind(misdeed) => {
            let behind = scene.behind.as_ref().expect("a service behind");
            behind.turn(Some(*misdeed));
            let seen = honest.measure(length);
            behind.turn(None);
            seen
        }
    };
    let asked = kubelet.over();
    verdict.during = during.p99();
    all.push(during);
    look_at_totals(&mut scene, &honest, &all, &mut verdict);
    look_at_life(&mut scene, attack.setting, before, &asked, &mut verdict);
    verdict
}

/// Whether every honest call is in the totals once.
fn look_at_totals(scene: &mut Scene, honest: &Honest, all: &[Seen], verdict: &mut Verdict) {
    let (sent, unanswered) = (honest.sent(), all.iter().map(|seen| seen.lost.len()).sum::<usize>());
    let mut counted = None;
    wait_until(|| {
        let calls = scene.page().map(|page| page.named("planet_calls_total"));
        let of_honest = calls.map(|calls| calls.into_iter().filter(|(labels, _)| labels["idc"] == IDC));
        counted = of_honest.map(|series| series.map(|(_, value)| value).sum::<f64>() as usize).or(counted);
        counted == Some(sent)
    });
    // A call that was not answered may be counted or not.
    let counted = counted.unwrap_or_default();
    verdict.lost = unanswered + (sent - unanswered).saturating_sub(counted);
    if verdict.lost > 0 {
        let why = all.iter().flat_map(|seen| &seen.lost).next();
        let why = why.map(|why| format!(", such as {why}")).unwrap_or_default();
        verdict
            .wrong
            .push(format!("{unanswered} of {sent} calls were not answered 200{why}; {counted} are counted"));
    }
    if verdict.lost > 0 {
        // Its own words may say why.
        let lines = scene.exporter.process.stderr.all();
        let warning = lines.iter().rev().find(|line| line.contains("WARN") || line.contains("ERROR"));
        verdict.remarks.extend(warning.map(|line| line.chars().take(400).collect()));
    }
    if counted > sent {
        verdict.wrong.push(format!("{counted} calls are counted, and {sent} were sent"));
    }
    let again: usize = all.iter().map(|seen| seen.again).sum();
    if again > 0 {
        verdict
            .remarks
            .push(format!("{again} of {sent} honest calls were sent again, since their connection ended"));
    }
}

/// Whether the exporter lives, and is as it was before.
fn look_at_life(
    scene: &mut Scene,
    setting: Setting,
    before: Option<Vitals>,
    asked: &Asked,
    verdict: &mut Verdict,
) {
    if asked.unanswered > 0 {
        let why = asked.why.as_deref().unwrap_or_default();
        let (unanswered, times) = (asked.unanswered, asked.times);
        verdict.remarks.push(format!(
            "/livez: {unanswered} of {times} were not answered within a second, such as {why}"
        ));
    }
    if let Some(status) = scene.exporter.process.ended() {
        let last = scene.exporter.process.stderr.all().pop().unwrap_or_default();
        verdict.wrong.push(format!("the exporter ended with {status}: {last}"));
        return;
    }
    let mut alive = Ok(());
    wait_until(|| {
        alive = is_alive(scene.exporter.admin, &scene.wire);
        alive.is_ok()
    });
    if let Err(why) = alive {
        verdict.wrong.push(format!("/livez is not answered after the attack: {why}"));
    }
    let mut after = None;
    wait_until(|| {
        after = scene.vitals();
        after.zip(before).is_some_and(|(after, before)| {
            after.descriptors <= before.descriptors && after.threads <= before.threads
        })
    });
    let page = scene.page();
    if let Some(page) = &page {
        let counts = COUNTED.iter().map(|(what, metric)| (page.sum(metric), what));
        let counts = counts.filter(|(count, _)| *count > 0.0).map(|(count, what)| format!("{count} {what}"));
        verdict.remarks.push(format!("it counted {}", counts.collect::<Vec<_>>().join(", ")));
    }
    let (Some(before), Some(after)) = (before, after) else {
        return verdict.wrong.push("nothing is known of its process".to_owned());
    };
    for (what, before, after) in
        [("descriptors", before.descriptors, after.descriptors), ("threads", before.threads, after.threads)]
    {
        if after > before {
            let open = page.as_ref().map_or(0.0, |page| page.sum("planet_exporter_connections"));
            verdict
                .remarks
                .push(format!("{what}: {before} before, {after} after; {open} connections are open"));
        }
    }
    verdict.peak_kib = after.peak_kib;
    let promised = promised_kib(is_stored(setting), has_service(setting));
    if after.peak_kib > promised {
        verdict.wrong.push(format!("{} KiB at its peak, and {promised} are promised", after.peak_kib));
    }
}

/// Asks again and again until it is so, or patience is over.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
}
