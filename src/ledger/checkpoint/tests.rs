use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::*;
use crate::callback::CallEvent;
use crate::metrics::birth::Birth;
use crate::metrics::text;

/// What release 0.1.0 wrote, in both of its formats, and its page of the same ledger.
const VERSION_1: &[u8] = include_bytes!("kept/version-1.checkpoint");
const VERSION_2: &[u8] = include_bytes!("kept/version-2.checkpoint");
const PAGE: &str = include_str!("kept/page.txt");

/// The limits of that ledger.
const LIMITS: Limits = Limits {
    unknown_reasons: 1,
    call_series: 16,
    release_series: 4,
    user_release_series: 4,
    services: Vec::new(),
    longest_call: Duration::from_secs(24 * 60 * 60),
};

fn checkpoint() -> Checkpoint {
    let buckets = |text: &str| text.parse().expect("buckets");
    let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let limits = Limits { longest_call: Duration::from_millis(40_500), ..Limits::default() };
    let mut ledger = Ledger::new(started_at, limits, buckets("0.1,60"), buckets("1.5,7"));
    ledger.expect_idc("KR");
    for (number, reason) in [1001, 1109, 1301, 1399, 5].into_iter().enumerate() {
        let query = format!(
            "sid={number}&type=A&rc_idc=JP&setup_time=1600000000&start_time=1600000004&end_time=1600000034&\
             duration=30&terminate=16&rel_code=1&rel_code_str=%22%0A&billing_sec=30&disconnect_reason={reason}"
        );
        ledger.apply(CallEvent::read(query.as_bytes(), started_at).expect("a call"));
    }
    let mark = |reader: &str, program: &str, shown| Mark {
        number: 0,
        reader: reader.to_owned(),
        program: program.to_owned(),
        shown: Birth::at(started_at + Duration::from_secs(shown)),
        asked_at: started_at,
    };
    let readers = vec![mark("192.0.2.1 Prometheus/3", "Prometheus", 1), mark("otlp http://c", "otlp", 2)];
    Checkpoint {
        position: 5,
        ledger,
        marks: Some(Marks { old: Birth::at(started_at), readers, ..Marks::default() }),
    }
}

/// The JSON of a checkpoint.
fn json(bytes: &[u8]) -> Value {
    let line_end = bytes.iter().position(|byte| *byte == b'\n').expect("a line");
    serde_json::from_slice(&bytes[line_end + 1..]).expect("JSON")
}

/// What comes of a checkpoint of a version after a change of its JSON, with the checksum that it should have.
fn changed(version: u32, change: impl FnOnce(&mut Value)) -> Result<Checkpoint, UnusableCheckpoint> {
    let mut contents = json(&checkpoint().encode().expect("encoded"));
    change(&mut contents);
    let contents = serde_json::to_vec(&contents).expect("JSON");
    Checkpoint::decode(&with_first_line(version, &contents), &Limits::default())
}

type Change = fn(&mut Value);

/// What a person is told of a checkpoint that is whole and cannot be read.
fn refusal(outcome: Result<Checkpoint, UnusableCheckpoint>) -> String {
    let error = outcome.expect_err("it cannot be read");
    assert!(!error.is_damage(), "{error}");
    error.to_string()
}

/// The value of a sample.
fn value(line: &str) -> u64 {
    line.rsplit_once(' ').expect("a value").1.parse().expect("a number")
}

/// The samples of a page.
fn sorted_lines(page: &str) -> Vec<&str> {
    let mut lines: Vec<_> = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_is_written_is_read() {
    let checkpoint = checkpoint();
    let bytes = checkpoint.encode().expect("encoded");
    assert_eq!(Checkpoint::decode(&bytes, &Limits::default()).expect("decoded"), checkpoint);
    let text = String::from_utf8(bytes).expect("text");
    let (line, json) = text.split_once('\n').expect("two lines");
    assert!(line.starts_with("planet-call-exporter ledger checkpoint, version 3, crc32 "), "{line}");
    assert!(
        json.starts_with(r#"{"writer":"0.2.0","oldest_reader":"0.2.0","position":5,"marks":{"old":1700000000123000,"pushed_as":null,"without_start":0,"readers":[{"reader":"192.0.2.1 Prometheus/3","program":"Prometheus","shown":1700000001123000,"asked_at":"#),
        "{json}"
    );
    let rows = r#""planet.call.billed":[[{"media_type":"audio","idc":"JP"},150,1700000000,1700000000123002],[{"media_type":"audio","idc":"KR"},0,0,1700000000123001],"#;
    assert!(json.contains(rows), "{json}");
}

#[test]
fn any_change_is_damage_and_not_another_version() {
    let bytes = checkpoint().encode().expect("encoded");
    for at in 0..bytes.len() {
        // Behind the beginning one bit of each byte is enough.
        let bits = if at < 2_000 { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let outcome = Checkpoint::decode(&changed, &Limits::default());
            let is_noticed = outcome.as_ref().is_err_and(UnusableCheckpoint::is_damage);
            // The checksum's own digits may be written in either case.
            let is_case = outcome.is_ok() && bytes[at].eq_ignore_ascii_case(&changed[at]);
            assert!(is_noticed || is_case, "bit {bit} of byte {at}: {outcome:?}");
        }
        let cut = Checkpoint::decode(&bytes[..at], &Limits::default());
        assert!(cut.is_err_and(|error| error.is_damage()), "cut at {at}");
    }
}

#[test]
fn both_formats_of_release_0_1_0_are_read_to_the_last_sample() {
    for bytes in [VERSION_1, VERSION_2] {
        let Checkpoint { position, ledger, marks } = Checkpoint::decode(bytes, &LIMITS).expect("decoded");
        assert_eq!((position, marks), (6, None));
        let families = ledger.families();
        let (new, known): (Vec<_>, Vec<_>) = families.into_iter().partition(|family| {
            let new = [
                "planet.exporter.events",
                "planet.exporter.anomalies",
                "planet.exporter.departed_calls",
                "planet.call.user_releases",
                "planet.call.results",
                "planet.call.recent.abnormal",
                "planet.call.recent.calls",
            ];
            new.contains(&family.metric.name)
        });
        // It did not know of which IDC an abnormal release was.
        let from = "planet_call_abnormal_releases_total{";
        let expected = PAGE.replace(from, &format!("{from}idc=\"other\","));
        // Labels have no control characters any more.
        let expected = expected.replace(r#"rel_code_str="\"\n""#, r#"rel_code_str="\"""#);
        let last_event = "planet_call_last_event_time_seconds";
        let expected =
            expected.replace(&format!("\n{last_event} "), &format!("\n{last_event}{{idc=\"other\"}} "));
        assert_eq!(sorted_lines(&text::render(&known)), sorted_lines(&expected));
        // What it did not keep: all of its calls were accepted, and whose fault they were follows from the calls.
        let new = text::render(&new);
        let results = |line: &&str| line.starts_with("planet_call_results_total{");
        let (results, others): (Vec<_>, Vec<_>) = sorted_lines(&new).into_iter().partition(results);
        assert_eq!(results.iter().map(|line| value(line)).sum::<u64>(), 6, "{results:?}");
        assert!(results.iter().any(|line| line.contains("idc=\"KR\"")), "{results:?}");
        let accepted = "planet_exporter_events_total{result=\"accepted\"} 6";
        assert!(others.iter().all(|line| *line == accepted || line.ends_with(" 0")), "{others:?}");
        assert_eq!(others.iter().filter(|line| **line == accepted).count(), 1);
        // None of it is new to who reads it.
        assert!(
            ledger.families().iter().flat_map(|family| &family.points).all(|point| point.born == Birth::NONE)
        );
        // And it goes on from there in the new format.
        let again = Checkpoint::of(ledger.clone()).encode().expect("encoded");
        assert_eq!(Checkpoint::decode(&again, &LIMITS).expect("decoded").ledger, ledger);
    }
}

#[test]
fn limits_go_on_where_release_0_1_0_was() {
    let ledger = Checkpoint::decode(VERSION_2, &LIMITS).expect("decoded").ledger;
    let mut ledger = ledger.reconfigured(LIMITS, &[], SystemTime::UNIX_EPOCH);
    let overflows = |ledger: &Ledger| {
        let page = text::render(&ledger.families());
        let lines =
            page.lines().filter_map(|line| line.strip_prefix("planet_exporter_label_overflows_total{limit="));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = [
        "\"calls\"} 1",
        "\"disconnect_reason\"} 1",
        "\"durations\"} 0",
        "\"idc\"} 1",
        "\"releases\"} 2",
        "\"user_releases\"} 0",
    ];
    assert_eq!(overflows(&ledger), before);
    for query in [
        // What it had admitted, and what every program knows.
        "sid=1&type=A&rc_idc=JP&duration=0&terminate=18&rel_code=203&rel_code_str=NO+ANSWER&disconnect_reason=1399",
        "sid=2&type=A&rc_idc=KR&duration=0&terminate=18&rel_code=203&rel_code_str=NO+ANSWER&disconnect_reason=1501",
    ] {
        ledger.apply(CallEvent::read(query.as_bytes(), SystemTime::UNIX_EPOCH).expect("a call"));
    }
    assert_eq!(overflows(&ledger), ["\"calls\"} 3", before[1], before[2], before[3], before[4], before[5]]);
}

#[test]
fn what_a_newer_release_adds_is_overlooked_if_it_says_that_it_may_be() {
    let read = changed(VERSION, |contents| {
        contents["writer"] = json!("0.9.7");
        contents["shards"] = json!([1, 2, 3]);
        contents["ledger"]["settled_at"] = json!({"a": null});
        contents["ledger"]["reasons"] = json!({"values": [], "since": 7});
        contents["ledger"]["tables"]["planet.group_calls"] = json!([[{"room": "x"}, 7]]);
        contents["ledger"]["tables"]["planet.call.duration"][0][1]["exemplar"] = json!("x");
    });
    assert_eq!(read.expect("decoded"), checkpoint());
    // And one of its values of a label stays what it is.
    let read = changed(VERSION, |contents| {
        let anomalies = &mut contents["ledger"]["tables"]["planet.exporter.anomalies"];
        anomalies.as_array_mut().expect("rows").push(json!([{"kind": "new"}, 7]));
    });
    let page = text::render(&read.expect("decoded").ledger.families());
    assert!(page.contains("planet_exporter_anomalies_total{kind=\"new\"} 7\n"), "{page}");
}

#[test]
fn what_an_older_release_did_not_have_is_other_or_zero() {
    let read = changed(VERSION, |contents| {
        let tables = contents["ledger"]["tables"].as_object_mut().expect("tables");
        tables.remove("planet.exporter.anomalies");
        tables["planet.call.billed"] = json!([[{"idc": "KR"}, 7]]);
        contents["ledger"].as_object_mut().expect("a ledger").remove("last_event");
    });
    let read = read.expect("decoded").ledger.reconfigured(Limits::default(), &[], SystemTime::UNIX_EPOCH);
    let page = text::render(&read.families());
    assert!(page.contains("planet_call_billed_seconds_total{media_type=\"other\",idc=\"KR\"} 7\n"), "{page}");
    assert!(page.contains("planet_exporter_anomalies_total{kind=\"not_utf8\"} 0\n"), "{page}");
}

#[test]
fn last_events_that_an_older_release_did_not_tell_apart_are_of_other_until_the_next() {
    let read = changed(VERSION, |contents| {
        contents["ledger"].as_object_mut().expect("a ledger").remove("last_events").expect("it was there");
    });
    let mut ledger = read.expect("decoded").ledger;
    let last_events = |ledger: &Ledger| {
        let page = text::render(&ledger.families());
        let lines = page.lines().filter(|line| line.starts_with("planet_call_last_event_time_seconds"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let last_event = |idc, time| vec![format!("planet_call_last_event_time_seconds{{idc=\"{idc}\"}} {time}")];
    assert_eq!(last_events(&ledger), last_event("other", "1700000000.123"));
    let again = Checkpoint::of(ledger.clone()).encode().expect("encoded");
    assert_eq!(Checkpoint::decode(&again, &Limits::default()).expect("decoded").ledger, ledger);
    let received_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001);
    ledger.apply(CallEvent::read(b"sid=9&rc_idc=KR&duration=0", received_at).expect("a call"));
    assert_eq!(last_events(&ledger), last_event("KR", "1700000001"));
}

#[test]
fn what_asks_for_a_newer_reader_is_refused_whatever_else_is_in_it() {
    let said = refusal(changed(VERSION, |contents| {
        *contents = json!({"writer": "12.4.1", "oldest_reader": "12.3.0", "position": "elsewhere"});
    }));
    let this = Release::THIS;
    let expected = format!(
        "version 12.4.1 of this program wrote it for version 12.3.0 or a newer one, and this is version {this}; \
         use version 12.3.0 or a newer one"
    );
    assert_eq!(said, expected);
    let said = refusal(changed(VERSION + 1, |contents| contents["writer"] = json!("3.0.0")));
    assert!(said.contains("version 3.0.0 of this program wrote it in format 4"), "{said}");
}

#[test]
fn what_is_whole_and_cannot_be_read_is_refused_by_its_writer() {
    let changes: [(Change, &str); 10] = [
        (|contents| contents["position"] = json!("x"), "invalid type"),
        (
            |contents| contents["position"] = json!(1u64 << 63),
            "its position is 9223372036854775808; expected 9223372036854775807 at most",
        ),
        (|contents| contents["oldest_reader"] = json!("x"), "expected a release such as 0.2.0, got \"x\""),
        (
            |contents| contents["ledger"]["tables"]["planet.call.billed"][0][0]["carrier"] = json!("x"),
            "planet.call.billed has an unexpected label carrier",
        ),
        (
            |contents| {
                let rows = contents["ledger"]["tables"]["planet.call.billed"].as_array_mut().expect("rows");
                rows.push(json!([{"idc": "KR", "media_type": "audio"}, 8]));
            },
            "planet.call.billed has two rows with the labels [\"audio\", \"KR\"]",
        ),
        (
            |contents| {
                contents["ledger"]["tables"]["planet.call.duration"][0][1]["counts"] = json!([1, 2]);
            },
            "planet.call.duration has a value that does not fit",
        ),
        (
            |contents| contents["ledger"]["tables"]["planet.call.duration"][0][1] = json!(7),
            "planet.call.duration has a value that does not fit",
        ),
        (
            |contents| {
                contents["ledger"]["tables"]["planet.calls"][0][1] =
                    json!({"counts": [1], "sum_milliseconds": 1});
            },
            "planet.calls has a value that does not fit",
        ),
        (|contents| contents["ledger"]["tables"]["planet.calls"][0][1] = json!(-1), "did not match"),
        (|contents| contents["ledger"]["duration_buckets"] = json!([2, 1]), "ascending order"),
    ];
    for (change, reason) in changes {
        let said = refusal(changed(VERSION, |contents| {
            contents["writer"] = json!("0.2.7");
            change(contents);
        }));
        let is_complete =
            said.contains("version 0.2.7 of this program wrote it") && said.contains("use version 0.2.7");
        assert!(is_complete && said.contains(reason), "{said}, because of {reason}");
    }
    let said = refusal(changed(VERSION, |contents| contents["ledger"]["tables"] = json!([])));
    assert!(said.contains("expected an object"), "{said}");
    let said = refusal(changed(VERSION, |contents| *contents = json!({})));
    assert!(said.contains("does not say which version") && said.contains("missing field `writer`"), "{said}");
    let said = refusal(changed(VERSION_WITHOUT_RELEASES, |_| {}));
    assert!(said.contains("version 0.1.0 of this program wrote it"), "{said}");
}

#[test]
fn what_is_full_stays_full() {
    let full = changed(VERSION, |contents| {
        let histogram = &mut contents["ledger"]["tables"]["planet.call.duration"][0][1];
        histogram["sum_milliseconds"] = json!(u64::MAX);
        for count in histogram["counts"].as_array_mut().expect("counts") {
            *count = json!(u64::MAX);
        }
    });
    let ledger = full.expect("a checkpoint").ledger;
    assert_eq!(ledger.answered(), u64::MAX);
    let page = crate::metrics::text::render(&ledger.families());
    assert!(page.contains(" 18446744073709551615\n"), "{page}");
}

#[test]
fn no_repeated_key_wins() {
    let text = String::from_utf8(checkpoint().encode().expect("encoded")).expect("text");
    let (_, json) = text.split_once('\n').expect("two lines");
    for (from, to, reason) in [
        (
            "{\"media_type\":\"audio\",\"idc\":\"KR\"}",
            "{\"idc\":\"KR\",\"idc\":\"KR\"}",
            "unexpected label idc",
        ),
        ("\"tables\":{", "\"tables\":{\"planet.calls\":[],", "has planet.calls twice"),
    ] {
        let bytes = with_first_line(VERSION, json.replacen(from, to, 1).as_bytes());
        let said = refusal(Checkpoint::decode(&bytes, &Limits::default()));
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn an_idc_that_an_older_release_admitted_stays_until_it_was_unused_for_a_day() {
    let row = json!([{"media_type": "audio", "idc": "forged", "disconnect_reason": "NORMAL", "fault_domain": "none",
        "releaser": "other", "answered": "true"}, 7]);
    let read = changed(VERSION, |contents| {
        let calls = contents["ledger"]["tables"]["planet.calls"].as_array_mut().expect("rows");
        calls.push(row);
    });
    let mut ledger = read.expect("decoded").ledger;
    let before = ledger.calls();
    let mut page_after = |hours: u64| {
        let received_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 3_600 * hours);
        let query = "sid=1&type=A&rc_idc=forged&duration=30&terminate=16&disconnect_reason=1001";
        ledger.apply(CallEvent::read(query.as_bytes(), received_at).expect("a call"));
        (text::render(&ledger.families()), ledger.calls())
    };
    let forged = "idc=\"forged\",disconnect_reason=\"NORMAL\",fault_domain=\"none\",releaser=\"other\",answered=\"true\"} 7";
    let (page, calls) = page_after(23);
    assert!(page.contains(forged) && calls == before + 1, "{page}");
    let (page, calls) = page_after(24);
    assert!(!page.contains("forged") && calls == before + 2, "{page}");
    // With two unknown reasons, which were unused as well.
    assert!(page.contains("planet_exporter_departed_calls{metric=\"planet_calls_total\"} 9"), "{page}");
}

#[test]
fn labels_of_an_older_release_lose_what_acts_on_who_looks_at_them_and_nothing_is_lost_by_that() {
    let row = |text: &str, number: u64| json!([{"terminate": "16", "rel_code": "1", "rel_code_str": text}, number, 1_700_000_000]);
    let read = |change: fn(&mut Vec<Value>)| {
        changed(VERSION, |contents| {
            let rows = &mut contents["ledger"]["tables"]["planet.call.releases"];
            let mut odd =
                vec![row("a\u{1b}b", 3), row("ab", 4), row("\u{202e}a\u{9b}b\u{7f}", 5), row("\u{7}", 6)];
            change(&mut odd);
            *rows = odd.into();
        })
    };
    let read_odd = read(|_| {}).expect("it can be read");
    let page = text::render(&read_odd.ledger.families());
    assert!(!page.contains(|character| character != '\n' && crate::http::shown::acts(character)));
    let of = |text: &str| {
        let line =
            format!("planet_call_releases_total{{terminate=\"16\",rel_code=\"1\",rel_code_str=\"{text}\"}} ");
        value(page.lines().find(|known| known.starts_with(&line)).expect("a sample"))
    };
    assert_eq!((of("ab"), of("other")), (12, 6));
    // It stays so, and rows that were equal before are damage as ever.
    let written = read_odd.encode().expect("encoded");
    assert_eq!(Checkpoint::decode(&written, &Limits::default()).expect("decoded"), read_odd);
    assert!(read(|rows| rows.push(rows[1].clone())).is_err());
}
