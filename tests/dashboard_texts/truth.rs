//! What was played, and what dashboards show of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::Scratch;
use crate::support::dashboards::path;
use crate::support::prometheus::Prometheus;

pub(crate) const ABNORMAL: [&str; 5] = ["client", "network", "platform", "application", "unknown"];

pub(crate) fn output(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}, which tests/run installs: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Services that were played, in a Prometheus.
pub(crate) struct Played {
    pub(crate) prometheus: Prometheus,
    pub(crate) truth: Value,
}

impl Played {
    pub(crate) fn new(arguments: &[&str]) -> Played {
        let scratch = Scratch::new("played");
        output(
            Command::new("python3").arg(path("dashboards/preview/play.py")).arg(&scratch.0).args(arguments),
        );
        let truth = fs::read(scratch.0.join("truth.json")).expect("the truth");
        let prometheus = Prometheus::with_samples(&scratch.0.join("played.om"));
        Played { prometheus, truth: serde_json::from_slice(&truth).expect("JSON") }
    }

    /// What the stats and tables of all dashboards show of services: by service, dashboard and panel.
    pub(crate) fn shown(&self, jobs: &[&str]) -> Value {
        shown(&self.prometheus, &self.truth["now"].to_string(), jobs)
    }
}

pub(crate) fn shown(prometheus: &Prometheus, now: &str, jobs: &[&str]) -> Value {
    let mut node = Command::new("node");
    node.arg(path("dashboards/preview/text.mjs")).arg("--modules").arg(path(".tools/dashboards"));
    node.args(["--prometheus", &prometheus.url(), "--now", now]);
    for job in jobs {
        node.args(["--job", job]);
    }
    for dashboard in ["calls", "releases", "idcs", "exporter"] {
        node.arg(path(&format!("dashboards/planet-{dashboard}.json")));
    }
    serde_json::from_str(&output(&mut node)).expect("JSON")
}

/// Calls of a window that are alike.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(from = "(String, String, String, String, bool, String, u32, u32, u32)")]
pub(crate) struct Calls {
    pub(crate) media_type: String,
    pub(crate) idc: String,
    pub(crate) reason: String,
    pub(crate) domain: String,
    pub(crate) is_answered: bool,
    pub(crate) releaser: String,
    pub(crate) cause: u32,
    pub(crate) code: u32,
    pub(crate) number: u32,
}

impl From<(String, String, String, String, bool, String, u32, u32, u32)> for Calls {
    fn from(row: (String, String, String, String, bool, String, u32, u32, u32)) -> Calls {
        let (media_type, idc, reason, domain, is_answered, releaser, cause, code, number) = row;
        Calls { media_type, idc, reason, domain, is_answered, releaser, cause, code, number }
    }
}

impl Calls {
    pub(crate) fn is_abnormal(&self) -> bool {
        ABNORMAL.contains(&self.domain.as_str())
    }
}

/// What was played of a service.
pub(crate) struct Service<'a> {
    pub(crate) name: &'a str,
    pub(crate) truth: &'a Value,
    pub(crate) calls: BTreeMap<String, Vec<Calls>>,
}

/// The share of calls as tables and stats show it.
pub(crate) fn percent(part: u32, whole: u32) -> Option<String> {
    let tenths = (1000.0 * f64::from(part) / f64::from(whole)).round() / 10.0;
    (whole > 0).then(|| format!("{tenths:.1}%"))
}

impl<'a> Service<'a> {
    pub(crate) fn new(played: &'a Played, name: &'a str) -> Service<'a> {
        let truth = &played.truth["jobs"][name];
        Service { name, truth, calls: serde_json::from_value(truth["calls"].clone()).expect("calls") }
    }

    pub(crate) fn number(&self, window: &str, is_wanted: impl Fn(&Calls) -> bool) -> u32 {
        self.calls[window].iter().filter(|calls| is_wanted(calls)).map(|calls| calls.number).sum()
    }

    /// The values of a label among the calls of a window.
    pub(crate) fn values(&self, windows: &[&str], label: impl Fn(&Calls) -> String) -> BTreeSet<String> {
        windows.iter().flat_map(|window| &self.calls[*window]).map(label).collect()
    }

    /// The state of calls of the last ten minutes, by the rules' default settings.
    pub(crate) fn state(&self, is_wanted: impl Fn(&Calls) -> bool) -> &'static str {
        let (all, abnormal) = (
            self.number("10m", &is_wanted),
            self.number("10m", |calls| is_wanted(calls) && calls.is_abnormal()),
        );
        let share = f64::from(abnormal) / f64::from(all);
        match (all, abnormal) {
            (_, 10..) if share > 0.04 => "failing",
            (_, 8..) if share > 0.025 => "worse",
            (1.., _) => "well",
            _ => "no calls",
        }
    }

    /// The columns of a table of shares by a label, and the fault domain of most.
    pub(crate) fn shares(&self, is_wanted: impl Fn(&Calls) -> bool) -> Value {
        let abnormal = |calls: &Calls| is_wanted(calls) && calls.is_abnormal();
        let share = |window| percent(self.number(window, abnormal), self.number(window, &is_wanted));
        json!({
            "State": self.state(&is_wanted),
            "Calls": self.number("10m", &is_wanted).to_string(),
            "Abnormal": self.number("10m", abnormal).to_string(),
            "Share": share("10m").unwrap_or("no calls".to_owned()),
            "Last week": share("last week").unwrap_or("-".to_owned()),
        })
    }

    /// What may stand for the fault domain of most abnormal calls of an IDC: of several that are equal, any.
    pub(crate) fn whose(&self, idc: &str) -> BTreeSet<&'static str> {
        let of = |domain: &str| self.number("10m", |calls| calls.idc == idc && calls.domain == domain);
        let most = ABNORMAL.iter().map(|domain| of(domain)).max().unwrap_or_default();
        match most {
            0 => ["nobody"].into(),
            _ => ABNORMAL.into_iter().filter(|domain| of(domain) == most).collect(),
        }
    }
}

pub(crate) fn who(domain: &str) -> &str {
    match domain {
        "client" => "client: our app",
        "network" => "network: in between",
        "platform" => "platform: LINE Planet",
        "application" => "application: our server",
        other => other,
    }
}
