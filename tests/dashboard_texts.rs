//! Every stat and every table of the dashboards says what is true: as Grafana makes text of the answers of a real Prometheus, for services
//! that are well, have an incident, have one call a minute, are pushed, are sick, were killed, or never were.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::Scratch;
use support::prometheus::Prometheus;

const ABNORMAL: [&str; 5] = ["client", "network", "platform", "application", "unknown"];

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn output(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}, which tests/run installs: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Services that were played, in a Prometheus.
struct Played {
    prometheus: Prometheus,
    truth: Value,
}

impl Played {
    fn new(arguments: &[&str]) -> Played {
        let scratch = Scratch::new("played");
        output(
            Command::new("python3").arg(path("dashboards/preview/play.py")).arg(&scratch.0).args(arguments),
        );
        let truth = fs::read(scratch.0.join("truth.json")).expect("the truth");
        let prometheus = Prometheus::with_samples(&scratch.0.join("played.om"));
        Played { prometheus, truth: serde_json::from_slice(&truth).expect("JSON") }
    }

    /// What the stats and tables of all dashboards show of services: by service, dashboard and panel.
    fn shown(&self, jobs: &[&str]) -> Value {
        shown(&self.prometheus, &self.truth["now"].to_string(), jobs)
    }
}

fn shown(prometheus: &Prometheus, now: &str, jobs: &[&str]) -> Value {
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
struct Calls {
    media_type: String,
    idc: String,
    reason: String,
    domain: String,
    is_answered: bool,
    releaser: String,
    cause: u32,
    code: u32,
    number: u32,
}

impl From<(String, String, String, String, bool, String, u32, u32, u32)> for Calls {
    fn from(row: (String, String, String, String, bool, String, u32, u32, u32)) -> Calls {
        let (media_type, idc, reason, domain, is_answered, releaser, cause, code, number) = row;
        Calls { media_type, idc, reason, domain, is_answered, releaser, cause, code, number }
    }
}

impl Calls {
    fn is_abnormal(&self) -> bool {
        ABNORMAL.contains(&self.domain.as_str())
    }
}

/// What was played of a service.
struct Service<'a> {
    name: &'a str,
    truth: &'a Value,
    calls: BTreeMap<String, Vec<Calls>>,
}

/// The share of calls as tables and stats show it.
fn percent(part: u32, whole: u32) -> Option<String> {
    let tenths = (1000.0 * f64::from(part) / f64::from(whole)).round() / 10.0;
    (whole > 0).then(|| format!("{tenths:.1}%"))
}

impl<'a> Service<'a> {
    fn new(played: &'a Played, name: &'a str) -> Service<'a> {
        let truth = &played.truth["jobs"][name];
        Service { name, truth, calls: serde_json::from_value(truth["calls"].clone()).expect("calls") }
    }

    fn number(&self, window: &str, is_wanted: impl Fn(&Calls) -> bool) -> u32 {
        self.calls[window].iter().filter(|calls| is_wanted(calls)).map(|calls| calls.number).sum()
    }

    /// The values of a label among the calls of a window.
    fn values(&self, windows: &[&str], label: impl Fn(&Calls) -> String) -> BTreeSet<String> {
        windows.iter().flat_map(|window| &self.calls[*window]).map(label).collect()
    }

    /// The state of calls of the last ten minutes, by the rules' default settings.
    fn state(&self, is_wanted: impl Fn(&Calls) -> bool) -> &'static str {
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
    fn shares(&self, is_wanted: impl Fn(&Calls) -> bool) -> Value {
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
    fn whose(&self, idc: &str) -> BTreeSet<&'static str> {
        let of = |domain: &str| self.number("10m", |calls| calls.idc == idc && calls.domain == domain);
        let most = ABNORMAL.iter().map(|domain| of(domain)).max().unwrap_or_default();
        match most {
            0 => ["nobody"].into(),
            _ => ABNORMAL.into_iter().filter(|domain| of(domain) == most).collect(),
        }
    }
}

fn who(domain: &str) -> &str {
    match domain {
        "client" => "client: our app",
        "network" => "network: in between",
        "platform" => "platform: LINE Planet",
        "application" => "application: our server",
        other => other,
    }
}

/// The rows of a table, in the order of their text.
fn rows(table: &Value) -> Vec<Value> {
    let mut rows = table.as_array().cloned().unwrap_or_default();
    rows.sort_by_key(Value::to_string);
    rows
}

/// What was compared, so that no panel is forgotten.
struct Comparison<'a> {
    shown: &'a Value,
    compared: BTreeSet<(String, String)>,
    about: &'a str,
}

impl<'a> Comparison<'a> {
    fn new(shown: &'a Value, job: &'a str) -> Comparison<'a> {
        Comparison { shown: &shown[job], compared: BTreeSet::new(), about: job }
    }

    /// What a panel shows.
    fn panel(&mut self, dashboard: &str, title: &str) -> &'a Value {
        self.compared.insert((dashboard.to_owned(), title.to_owned()));
        let shown = &self.shown[dashboard][title];
        assert!(!shown.is_null(), "{}, {dashboard}: there is a panel {title}", self.about);
        shown
    }

    fn stat(&mut self, dashboard: &str, title: &str, expected: Value) {
        let shown = self.panel(dashboard, title);
        assert_eq!(*shown, expected, "{}, {dashboard}, {title}", self.about);
    }

    fn table(&mut self, dashboard: &str, title: &str, expected: Vec<Value>) {
        let shown = self.panel(dashboard, title);
        assert_eq!(rows(shown), rows(&expected.into()), "{}, {dashboard}, {title}: {shown}", self.about);
    }

    fn assert_every_panel_was_compared(&self) {
        for (dashboard, panels) in self.shown.as_object().expect("dashboards") {
            for title in panels.as_object().expect("panels").keys() {
                let is_compared = self.compared.contains(&(dashboard.clone(), title.clone()));
                assert!(is_compared, "{}, {dashboard}: {title} was compared", self.about);
            }
        }
    }
}

fn with(mut row: Value, more: Value) -> Value {
    let row_fields = row.as_object_mut().expect("a row");
    row_fields.extend(more.as_object().expect("columns").clone());
    row
}

/// A time that is shown is that of the truth, or up to two minutes later, as the share of abnormal calls takes some calls to grow.
fn assert_since(shown: &Value, truth: &Value) {
    let minute = |time: &Value| {
        let text = time.as_str().unwrap_or_default();
        let part = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<i32>().ok());
        Some(60 * part(11..13)? + part(14..16)?)
    };
    let late = minute(shown).zip(minute(truth)).map(|(shown, truth)| shown - truth);
    assert!(late.is_some_and(|late| (0..=2).contains(&late)), "{shown} is {truth}");
}

fn compare_calls(service: &Service<'_>, comparison: &mut Comparison<'_>, headline: &str) {
    let page = "planet-calls";
    let all = service.number("10m", |_| true);
    let answered = service.number("10m", |calls| calls.is_answered);
    let abnormal = service.number("10m", Calls::is_abnormal);
    let cut_off = service.number("10m", |calls| calls.is_answered && calls.is_abnormal());
    comparison.stat(page, "Now", headline.into());
    let ratio = |part, whole: u32, empty: &str| json!({"share": percent(part, whole).unwrap_or(empty.to_owned()), "calls": whole.to_string()});
    comparison.stat(page, "Delivered (NER), 10 minutes", ratio(all - abnormal, all, "no calls"));
    comparison.stat(page, "Answered (ASR), 10 min", ratio(answered, all, "no calls"));
    comparison.stat(page, "Cut off, 10 minutes", ratio(cut_off, answered, "none answered"));
    let since = comparison.panel(page, "Failing since");
    match service.state(|_| true) {
        "failing" => assert_since(since, &service.truth["fails from"]),
        _ => assert_eq!(*since, "not failing"),
    }
    compare_alerts(service, comparison);
    let media = service.values(&["10m", "last week"], |calls| calls.media_type.clone());
    let media = media.iter().map(|medium| {
        let mut shares = service.shares(|calls| calls.media_type == *medium);
        shares.as_object_mut().expect("columns").remove("Abnormal");
        with(json!({"Medium": medium}), shares)
    });
    comparison.table(page, "Audio and video, 10 minutes", media.collect());
    compare_idcs(service, comparison);
    let by_domain = ABNORMAL.into_iter().filter_map(|domain| {
        let of = |window| service.number(window, |calls| calls.domain == domain).to_string();
        let row = json!({"Whose": who(domain), "10 min": of("10m"), "1 hour": of("1h")});
        (of("1h") != "0").then_some(row)
    });
    comparison.table(page, "Whose fault", by_domain.collect());
    comparison.table(page, "Why", reasons(service, |reason, number| {
        json!({"Reason": reason.0, "Whose": who(&reason.1), "10 min": number("10m"), "1 hour": number("1h"), "Last week": number("last week")})
    }));
}

fn compare_alerts(service: &Service<'_>, comparison: &mut Comparison<'_>) {
    let alerts = service.truth["alerts"].as_array().expect("alerts").iter();
    let alerts = alerts.map(|alert| {
        let row = json!({"Alert": alert[0], "Severity": alert[2], "Fires since": alert[3]});
        // Of a whole service there is nothing more to say, and a column in which nothing stands is not there.
        if alert[1] == "" { row } else { with(row, json!({"Where": alert[1]})) }
    });
    comparison.table("planet-calls", "Alerts that fire", alerts.collect());
}

/// Rows for the abnormal reasons of the last hour.
fn reasons(
    service: &Service<'_>,
    row: impl Fn(&(String, String), &dyn Fn(&str) -> String) -> Value,
) -> Vec<Value> {
    let abnormal = service.calls["1h"].iter().filter(|calls| calls.is_abnormal());
    let reasons: BTreeSet<_> = abnormal.map(|calls| (calls.reason.clone(), calls.domain.clone())).collect();
    let number =
        |reason: &str, window: &str| service.number(window, |calls| calls.reason == reason).to_string();
    reasons.iter().map(|reason| row(reason, &|window| number(&reason.0, window))).collect()
}

/// The table of IDCs of the first page, and that of the page of IDCs, which has more.
fn compare_idcs(service: &Service<'_>, comparison: &mut Comparison<'_>) {
    let idcs = service.values(&["1h", "last week"], |calls| calls.idc.clone());
    for (page, title) in
        [("planet-calls", "IDC of the caller, 10 minutes"), ("planet-idcs", "Side by side, 10 minutes")]
    {
        let shown = comparison.panel(page, title).as_array().expect("rows").clone();
        assert_eq!(shown.len(), idcs.len(), "{title}: {shown:?}");
        for row in shown {
            let idc = row["IDC"].as_str().expect("an IDC").to_owned();
            let of_idc = |calls: &Calls| calls.idc == idc;
            for (column, expected) in service.shares(of_idc).as_object().expect("columns") {
                assert_eq!(row[column], *expected, "{}, {title}, {idc}: {column}", service.name);
            }
            let whose = service.whose(&idc);
            let is_whose = |domain: &&str| row["Mostly"] == **domain || row["Mostly"] == who(domain);
            assert!(whose.iter().any(is_whose), "{}, {title}: {row} is of {whose:?}", service.name);
            match service.state(of_idc) {
                "failing" => assert_since(&row["Failing since"], &service.truth["fails from"]),
                _ => assert_eq!(row["Failing since"], "not failing", "{}, {title}: {row}", service.name),
            }
            if page == "planet-idcs" {
                compare_more_of_idc(service, &idc, &row);
            }
        }
    }
    for idc in idcs {
        let of_idc = |calls: &Calls| calls.idc == idc;
        let words = match service.state(of_idc) {
            "failing" => "Calls fail",
            "worse" => "Worse than usual",
            "well" => "Calls connect",
            _ => "No calls",
        };
        comparison.stat("planet-idcs", &format!("{idc}: Now, 10 minutes"), words.into());
        let all = service.number("10m", of_idc);
        let delivered = service.number("10m", |calls| of_idc(calls) && !calls.is_abnormal());
        let share = percent(delivered, all).unwrap_or("no calls".to_owned());
        let expected = json!({"share": share, "calls": all.to_string()});
        comparison.stat("planet-idcs", &format!("{idc}: Delivered (NER), 10 minutes"), expected);
    }
}

fn compare_more_of_idc(service: &Service<'_>, idc: &str, row: &Value) {
    let of_idc = |calls: &Calls| calls.idc == idc;
    let answered = service.number("10m", |calls| of_idc(calls) && calls.is_answered);
    let cut_off = service.number("10m", |calls| of_idc(calls) && calls.is_answered && calls.is_abnormal());
    let or_none = |share: Option<String>| share.unwrap_or("no calls".to_owned());
    assert_eq!(row["Answered"], or_none(percent(answered, service.number("10m", of_idc))), "{row}");
    assert_eq!(row["Cut off"], or_none(percent(cut_off, answered)), "{row}");
    assert_eq!(row["Callers hit, 5 min"], service.truth["callers"][idc].to_string(), "{row}");
    // A quantile of a histogram lies in the bucket of the true one.
    let shown = row["Time to answer"].as_str().expect("text").trim_end_matches(" s").parse::<f64>();
    match (service.truth["time to answer"][idc].as_f64(), shown) {
        (Some(median), Ok(shown)) => {
            let buckets = [0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
            let bucket = |seconds: f64| buckets.iter().rposition(|bound| seconds > *bound);
            // The median of an even number lies between two calls, which may be of two buckets.
            assert!(
                bucket(median) == bucket(shown) || (median - shown).abs() < 2.0,
                "{}: {row}: {median}",
                service.name
            );
        }
        (None, Err(_)) => assert_eq!(row["Time to answer"], "no calls"),
        (truth, shown) => panic!("{truth:?} is shown as {shown:?}"),
    }
}

fn compare_releases(service: &Service<'_>, comparison: &mut Comparison<'_>) {
    let page = "planet-releases";
    comparison.table(page, "Reasons of abnormal ends", reasons(service, |reason, number| {
        json!({"Reason": reason.0, "Whose": who(&reason.1), "Shown": number("1h"), "1 hour": number("1h"), "Last week": number("last week")})
    }));
    let number = |window: &str, reason: &str| service.number(window, |calls| calls.reason == reason);
    let mut movers = reasons(service, |reason, _| {
        let (now, before) = (number("1h", &reason.0), number("hour before", &reason.0));
        json!({"Reason": reason.0, "Whose": reason.1, "Hour before": before.to_string(), "1 hour": now.to_string(),
            "More": now.saturating_sub(before).to_string()})
    });
    movers.retain(|row| row["More"] != "0");
    comparison.table(page, "Top movers", movers);
    let mut new = reasons(
        service,
        |reason, number| json!({"Reason": reason.0, "Whose": reason.1, "1 hour": number("1h")}),
    );
    new.retain(|row| number("before", row["Reason"].as_str().expect("text")) == 0);
    comparison.table(page, "First seen", new);
    let abnormal: Vec<_> = service.calls["1h"].iter().filter(|calls| calls.is_abnormal()).collect();
    let idcs: BTreeSet<_> = abnormal.iter().map(|calls| calls.idc.clone()).collect();
    comparison.table(
        page,
        "IDC and reason",
        reasons(service, |reason, _| {
            let of_idc = |idc: &String| {
                let number = service.number("1h", |calls| calls.reason == reason.0 && calls.idc == *idc);
                (idc.clone(), number.to_string().into())
            };
            let row: serde_json::Map<_, _> = idcs.iter().map(of_idc).collect();
            with(json!({"Reason": reason.0}), row.into())
        }),
    );
    let all = service.number("1h", |_| true);
    let counts = |label: &dyn Fn(&Calls) -> Value| -> Vec<Value> {
        let labels: BTreeMap<String, Value> =
            service.calls["1h"].iter().map(|calls| (label(calls).to_string(), label(calls))).collect();
        let row = |columns: Value| {
            let number = service.number("1h", |calls| label(calls) == columns);
            with(columns, json!({"Shown": number.to_string(), "Share": percent(number, all)}))
        };
        labels.into_values().map(row).collect()
    };
    comparison.table(page, "Who ended calls", counts(&|calls| json!({"Releaser": calls.releaser})));
    let cause = |calls: &Calls| match calls.cause {
        16 => "16 normal".to_owned(),
        17 => "17 busy".to_owned(),
        18 => "18 no user responding".to_owned(),
        other => other.to_string(),
    };
    comparison.table(page, "Q.850 cause", counts(&|calls| json!({"Cause": cause(calls)})));
    let code = |calls: &Calls| json!({"Code": calls.code.to_string(), "Name": calls.reason});
    comparison.table(page, "Release code", counts(&code));
}

/// The page of the exporter; `states` are those of its two exporters.
fn compare_exporter(
    service: &Service<'_>,
    settings: &Value,
    comparison: &mut Comparison<'_>,
    headline: &str,
    states: [&str; 2],
) {
    let page = "planet-exporter";
    comparison.stat(page, "Now", headline.into());
    let alive = states.iter().filter(|state| **state != "dead").count();
    comparison.stat(page, "Alive", alive.to_string().into());
    let since = service.truth["since the last call"].as_u64().expect("seconds");
    comparison.stat(
        page,
        "Since the last call event",
        format!("00:{:02}:{:02}", since / 60, since % 60).into(),
    );
    comparison.panel(page, "Call events, 10 minutes");
    let shown = comparison.panel(page, "Exporters").as_array().expect("rows");
    assert_eq!(shown.len(), 2, "{shown:?}");
    for row in shown {
        let instance = row["Instance"].as_str().expect("an instance");
        let truth = &service.truth["exporters"][instance];
        let state = states[usize::from(instance.ends_with('1'))];
        assert_eq!((&row["Service"], &row["State"]), (&service.name.into(), &state.into()), "{row}");
        assert!(row["Version"].as_str().is_some_and(|version| version.starts_with("0.4.")), "{row}");
        assert_eq!(row["Last call"], truth["last call"], "{row}");
        assert_eq!(row["Starts, 1 hour"], truth["starts"].to_string(), "{row}");
        assert_eq!(row["Lost, 1 hour"], "0", "{row}");
        if state == "dead" {
            continue;
        }
        // A push does not say when the exporter started.
        if service.name != "pushed" {
            assert_eq!(row["Started"], truth["started"], "{row}");
        }
        let minutes = truth["oldest"].as_u64().expect("seconds") / 60;
        let oldest = if minutes == 0 { "0 s".to_owned() } else { format!("{minutes} mins") };
        assert_eq!(row["Oldest in a sink"], oldest, "{row}");
    }
    for row in comparison.panel(page, "What must not happen, 1 hour").as_array().expect("rows") {
        let expected = match row["What"].as_str().expect("text") {
            "Deliveries that failed (retry, refused)" => service.truth["failed deliveries"].to_string(),
            // The gauges of what is gone are not known any more.
            what if alive == 0 && what.ends_with("now") => panic!("{row}"),
            _ => "0".to_owned(),
        };
        assert_eq!(row["How often"], expected, "{row}");
    }
    compare_settings(settings, comparison);
}

fn compare_settings(settings: &Value, comparison: &mut Comparison<'_>) {
    let shown = comparison.panel("planet-exporter", "Settings").as_array().expect("rows");
    assert_eq!(shown.len(), settings.as_object().expect("settings").len());
    for row in shown {
        let value = row["Value"].as_str().and_then(|text| text.parse::<f64>().ok());
        assert_eq!(value, settings[row["Setting"].as_str().expect("a setting")].as_f64(), "{row}");
    }
}

#[test]
fn what_stats_and_tables_say_is_true_in_every_state() {
    let played = Played::new(&[]);
    let jobs = ["calm", "incident", "quiet", "pushed", "sick", "killed"];
    let shown = played.shown(&jobs);
    let of_exporters = [
        ("calm", "Calls connect", "Exporters are well", ["well", "well"]),
        ("incident", "Calls fail", "Exporters are well", ["well", "well"]),
        ("quiet", "Calls connect", "Exporters are well", ["well", "well"]),
        ("pushed", "Calls connect", "Exporters are well", ["well", "well"]),
        ("sick", "An alert pages", "Restarting", ["restarting", "not storing"]),
    ];
    for (job, calls, exporter, states) in of_exporters {
        let (service, mut comparison) = (Service::new(&played, job), Comparison::new(&shown, job));
        compare_calls(&service, &mut comparison, calls);
        compare_releases(&service, &mut comparison);
        compare_exporter(&service, &played.truth["settings"], &mut comparison, exporter, states);
        let events = service.number("10m", |_| true).to_string();
        comparison.stat("planet-exporter", "Call events, 10 minutes", events.into());
        comparison.assert_every_panel_was_compared();
    }
    // The first row is where it fails.
    let first = &shown["incident"]["planet-calls"]["IDC of the caller, 10 minutes"][0];
    assert_eq!((&first["IDC"], &first["Mostly"]), (&"JP".into(), &"platform".into()), "{first}");
    assert_killed_exporters_are_seen(&played, &shown);
}

/// Five and a half minutes after the end of its exporters nothing of a service is said to be well. Shares are still those of the calls that there were.
fn assert_killed_exporters_are_seen(played: &Played, shown: &Value) {
    let (service, mut comparison) = (Service::new(played, "killed"), Comparison::new(shown, "killed"));
    let settings = &played.truth["settings"];
    compare_exporter(&service, settings, &mut comparison, "An exporter is dead", ["dead", "dead"]);
    comparison.stat("planet-calls", "Now", "Exporter gone".into());
    comparison.stat("planet-calls", "Failing since", "unknown".into());
    compare_alerts(&service, &mut comparison);
    let calls = &shown["killed"]["planet-calls"];
    for table in ["IDC of the caller, 10 minutes", "Audio and video, 10 minutes"] {
        for row in calls[table].as_array().expect("rows") {
            assert_eq!(row["State"], "gone", "{row}");
        }
    }
    let all = service.number("10m", |_| true);
    let delivered = all - service.number("10m", Calls::is_abnormal);
    let share = &calls["Delivered (NER), 10 minutes"]["share"];
    assert_eq!(share.as_str().map(str::to_owned), percent(delivered, all));
}

#[test]
fn an_empty_prometheus_is_not_well() {
    let prometheus = Prometheus::start(&[], "");
    let shown = shown(&prometheus, "1773802980", &[".+"]);
    let mut comparison = Comparison::new(&shown, ".+");
    comparison.stat("planet-calls", "Now", "No exporter in a day".into());
    for title in ["Delivered (NER), 10 minutes", "Answered (ASR), 10 min"] {
        comparison.stat("planet-calls", title, "no calls".into());
    }
    comparison.stat("planet-exporter", "Now", "No exporter".into());
    comparison.stat("planet-exporter", "Alive", "0".into());
    let alerts = comparison.panel("planet-calls", "Alerts that fire");
    assert_eq!(alerts, &json!([{"Alert": "The rules are not loaded", "Fires since": "-"}]));
    for table in ["IDC of the caller, 10 minutes", "Audio and video, 10 minutes"] {
        assert_eq!(comparison.panel("planet-calls", table), "no calls", "{table}");
    }
    assert_eq!(comparison.panel("planet-exporter", "Exporters"), "No exporter in a day");
}

#[test]
fn limits_are_those_of_the_settings_and_their_defaults_without_rules() {
    // With nine calls in ten as objective, four budgets are two fifths: more than end abnormally in all, less than at the IDC.
    let generous = Played::new(&["--state", "incident", "--setting", "planet:objective:ratio=0.9"]);
    let shown = generous.shown(&["incident"]);
    let mut comparison = Comparison::new(&shown, "incident");
    comparison.stat("planet-calls", "Now", "Some calls fail".into());
    comparison.stat("planet-idcs", "JP: Now, 10 minutes", "Calls fail".into());
    for row in comparison.panel("planet-calls", "Audio and video, 10 minutes").as_array().expect("rows") {
        assert_eq!(row["State"], "well", "{row}");
    }
    compare_settings(&generous.truth["settings"], &mut comparison);
    let without = Played::new(&["--state", "incident", "--no-rules"]);
    let shown = without.shown(&["incident"]);
    let (service, mut comparison) = (Service::new(&without, "incident"), Comparison::new(&shown, "incident"));
    compare_idcs(&service, &mut comparison);
    comparison.stat("planet-calls", "Now", "Calls fail".into());
    compare_settings(&without.truth["settings"], &mut comparison);
}
