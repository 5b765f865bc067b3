//! The pages of calls, releases and IDCs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::comparison::{Comparison, assert_since, with};
use crate::truth::{ABNORMAL, Calls, Service, percent, who};

pub(crate) fn compare_calls(service: &Service<'_>, comparison: &mut Comparison<'_>, headline: &str) {
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

pub(crate) fn compare_alerts(service: &Service<'_>, comparison: &mut Comparison<'_>) {
    let alerts = service.truth["alerts"].as_array().expect("alerts").iter();
    let alerts = alerts.map(|alert| {
        let row = json!({"Alert": alert[0], "Severity": alert[2], "Fires since": alert[3]});
        // Of a whole service there is nothing more to say, and a column in which nothing stands is not there.
        if alert[1] == "" { row } else { with(row, json!({"Where": alert[1]})) }
    });
    comparison.table("planet-calls", "Alerts that fire", alerts.collect());
}

/// Rows for the abnormal reasons of the last hour.
pub(crate) fn reasons(
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
pub(crate) fn compare_idcs(service: &Service<'_>, comparison: &mut Comparison<'_>) {
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

pub(crate) fn compare_more_of_idc(service: &Service<'_>, idc: &str, row: &Value) {
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

pub(crate) fn compare_releases(service: &Service<'_>, comparison: &mut Comparison<'_>) {
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
