//! The laws, and incidents of which the cause is known.

use proptest::prelude::*;

use super::*;
use crate::history::past_of_tests::{Records, at};

/// The end of the time of these tests, in seconds and minutes.
const END: u64 = 900;
const MINUTES: u64 = 15;

fn answer_of(records: &Records) -> Why {
    why(records, at(END), MINUTES).expect("records at hand")
}

/// A number below `below` that looks like chance, and is the same each time.
fn chance(number: u64, salt: u64, below: u64) -> u64 {
    let mut mixed = (number << 8 | salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ mixed >> 31) % below
}

/// A call of this number. Where it is said nothing else, chance says which of 7 IDCs, 5 services, 211 people and 40
/// networks it is of.
fn call(number: u64, reason: u64, more: &str) -> String {
    let chance = |salt, below| chance(number, salt, below);
    let mut query = String::new();
    for (name, value) in [
        ("sid", number.to_string()),
        ("type", ["A", "V"][chance(1, 2) as usize].to_owned()),
        ("rc_idc", ["KR", "JP", "TH", "TW", "ID", "US", "SG"][chance(2, 7) as usize].to_owned()),
        ("from_service_id", "shop".to_owned()),
        ("to_service_id", format!("service-{}", chance(3, 5))),
        ("from_user_id", format!("user-{}", chance(4, 211))),
        ("to_user_id", format!("callee-{}", chance(5, 199))),
        ("srcip", format!("10.0.{}.7", chance(6, 40))),
        ("dstip", format!("10.1.{}.7", chance(7, 40))),
        ("app_svr_data", format!("sdk_version%3D5.{}%26os%3DiOS", chance(8, 3))),
    ] {
        if !more.contains(&format!("{name}=")) {
            query += &format!("{name}={value}&");
        }
    }
    format!("{query}duration=0&disconnect_reason={reason}&terminate=127{more}")
}

const FAILED: u64 = 1305;
const BUSY: u64 = 1202;

/// Calls of which each 50th fails.
fn calm() -> Records {
    let mut records = Records::default();
    (0..2_000).for_each(|number| {
        records.add(number % END, &call(number, if number % 50 == 0 { FAILED } else { BUSY }, ""))
    });
    records
}

/// The calm, and calls of which so many of ten fail that have this in common.
fn incident(more: &str, failing_of_ten: u64) -> Records {
    let mut records = calm();
    for number in 0..200 {
        let reason = if number % 10 < failing_of_ten { FAILED } else { BUSY };
        records.add(number % END, &call(10_000 + number * 13, reason, more));
    }
    records
}

#[test]
fn in_the_calm_nothing_stands_out() {
    let answer = answer_of(&calm());
    assert_eq!((answer.calls, answer.failing, answer.is_complete), (2_000, 40, true));
    assert!(answer.findings.is_empty(), "{answer}");
    assert!(answer.summary.starts_with("Nothing stands out: 40 of 2000"), "{answer}");
    assert_eq!(
        answer.how_they_failed[0].values[0],
        Ended { value: "SERVER_INTERNAL_ERROR".to_owned(), calls: 40 }
    );
}

#[test]
fn the_planted_cause_comes_first_and_a_harmless_one_does_not() {
    for (more, parameter, value) in [
        ("&to_service_id=pay", "to_service_id", Some("pay")),
        ("&from_service_id=pay", "from_service_id", Some("pay")),
        ("&rc_idc=VN", "rc_idc", Some("VN")),
        ("&srcip=192.0.2.9", "srcip", Some("192.0.2.0/24")),
        ("&dstip=2001:db8:7::9", "dstip", Some("2001:db8:7::/48")),
        ("&app_svr_data=sdk_version%3D6.0", "app_svr_data.sdk_version", Some("6.0")),
        ("&app_svr_data=%7B%22sdk%22%3A%2225%22%7D", "app_svr_data.sdk", Some("25")),
        ("&from_user_id=bot", "from_user_id", None),
        ("&to_user_id=bot&to_service_id=service-1", "to_user_id", None),
    ] {
        for failing_of_ten in [5, 10] {
            let answer = answer_of(&incident(more, failing_of_ten));
            let first = &answer.findings.first().unwrap_or_else(|| panic!("{more}: {answer}")).value;
            assert_eq!((&*first.parameter, first.value.as_deref()), (parameter, value), "{more}: {answer}");
            let expected = (20 * failing_of_ten, 200 - 20 * failing_of_ten);
            assert_eq!((first.failing, first.others), expected, "{more}: {answer}");
            assert_eq!(answer.summary, first.text);
            // Neither what the app sent of another name, nor what half of all calls have.
            let names: Vec<_> = answer.findings.iter().map(|finding| &finding.value.parameter).collect();
            assert_eq!(names.len(), 1, "{more}: {answer}");
        }
    }
}

#[test]
fn two_names_for_the_same_calls_are_told_once() {
    let answer = answer_of(&incident("&to_service_id=pay&rc_idc=VN&dstip=192.0.2.9", 8));
    let [finding] = &answer.findings[..] else { panic!("{answer}") };
    let same = finding.same_calls.iter().map(|same| (&*same.parameter, same.value.as_deref()));
    assert_eq!((&*finding.value.parameter, finding.value.value.as_deref()), ("rc_idc", Some("VN")));
    let expected = [("to_service_id", Some("pay")), ("dstip", Some("192.0.2.0/24"))];
    assert!(same.eq(expected), "{answer}");
}

#[test]
fn what_only_goes_with_the_cause_is_told_with_it() {
    // Calls to pay fail, and come from VN more often than others do.
    let mut records = calm();
    for number in 0..400 {
        let (service, reason) = if number % 2 == 0 { ("pay", FAILED) } else { ("food", BUSY) };
        let idc = if number % 4 == 0 || number % 8 == 1 { "VN" } else { "KR" };
        records.add(
            number % END,
            &call(10_000 + number * 13, reason, &format!("&to_service_id={service}&rc_idc={idc}")),
        );
    }
    let answer = answer_of(&records);
    let [finding] = &answer.findings[..] else { panic!("{answer}") };
    assert_eq!(finding.value.value.as_deref(), Some("pay"), "{answer}");
    assert!(finding.goes_with_it.iter().any(|with| with.value.as_deref() == Some("VN")), "{answer}");
}

#[test]
fn two_causes_are_two_findings() {
    let mut records = incident("&to_service_id=pay", 10);
    for number in 0..120 {
        records.add(number % END, &call(30_000 + number * 13, FAILED, "&rc_idc=VN"));
    }
    let answer = answer_of(&records);
    let values: Vec<_> = answer.findings.iter().map(|finding| finding.value.value.as_deref()).collect();
    assert_eq!(values, [Some("pay"), Some("VN")], "{answer}");
}

#[test]
fn what_fails_only_together_is_told_together() {
    let mut records = calm();
    for number in 0..400 {
        let (service, sdk) = (["pay", "food"][number as usize % 2], ["6.0", "5.0"][number as usize / 2 % 2]);
        let reason = if service == "pay" && sdk == "6.0" { FAILED } else { BUSY };
        let more = format!("&to_service_id={service}&app_svr_data=sdk%3D{sdk}");
        records.add(number % END, &call(10_000 + number * 13, reason, &more));
    }
    let answer = answer_of(&records);
    let [first, second] = &answer.findings[..] else { panic!("{answer}") };
    assert_eq!((&first.together, first.value.value.as_deref()), (&None, Some("pay")), "{answer}");
    let together = second.together.as_ref().expect("both");
    assert_eq!((second.value.value.as_deref(), together.value.as_deref()), (Some("6.0"), Some("pay")));
    assert_eq!((together.failing, together.others), (100, 0));
}

#[test]
fn what_may_lead_to_a_person_is_not_told_unless_several_have_it() {
    for people in [1, 2, 3] {
        let mut records = calm();
        for number in 0..200 {
            let more =
                format!("&srcip=192.0.2.9&app_svr_data=hana%3D1&from_user_id=only-{}", number % people);
            records.add(number % END, &call(10_000 + number * 13, FAILED, &more));
        }
        let answer = answer_of(&records);
        let told = crate::http::shown::to_json(&answer);
        assert_eq!(told.contains("192.0.2.0/24"), people == 3, "{answer}");
        assert_eq!(told.contains("hana"), people == 3, "{answer}");
        assert!(!told.contains("only-") && !told.contains("192.0.2.9"));
        assert!(!answer.findings.is_empty(), "one caller or two of them: {answer}");
    }
}

#[test]
fn few_calls_prove_nothing_and_that_is_said() {
    let of = |failing: u64, others: u64| {
        let mut records = Records::default();
        (0..failing).for_each(|number| records.add(number, &call(number, FAILED, "&rc_idc=VN")));
        (0..others).for_each(|number| records.add(number, &call(1_000 + number, BUSY, "&rc_idc=KR")));
        answer_of(&records)
    };
    for (failing, others, said) in [
        (0, 0, "No calls."),
        (0, 5, "None of 5 calls failed."),
        (
            9,
            500,
            "Too few to tell: 9 of 509 calls failed, and it takes 10. Look further back, with more minutes.",
        ),
        (500, 9, "Nothing to compare with: 500 of 509 calls failed, whatever they have in common."),
    ] {
        let answer = of(failing, others);
        assert_eq!((&*answer.summary, answer.findings.len()), (said, 0));
    }
    assert_eq!(of(10, 500).findings[0].value.value.as_deref(), Some("VN"));
}

#[test]
fn how_they_failed_is_no_cause() {
    let answer =
        answer_of(&incident("&to_service_id=pay&rel_code=77&rel_code_str=DB&user_rel_code=APP-7", 10));
    let told = crate::http::shown::to_json(&answer.findings);
    for implied in ["SERVER_INTERNAL_ERROR", "\"77\"", "\"DB\"", "APP-7", "platform"] {
        assert!(!told.contains(implied), "{told}");
    }
    let how: Vec<_> = answer.how_they_failed.iter().map(|how| how.name).collect();
    assert!(how.contains(&"rel_code_str") && how.contains(&"duration"), "{how:?}");
    assert!(format!("{answer}").contains("- user_rel_code: APP-7 83 %, other 17 %"), "{answer}");
}

#[test]
fn any_number_of_values_is_as_good_as_few() {
    let mut records = incident("&to_service_id=pay", 10);
    for number in 0..20_000 {
        let more = format!(
            "&to_service_id=forged-{number}&rc_idc=X{number}&srcip=10.{}.{}.1",
            number / 256,
            number % 256
        );
        records.add(number % END, &call(50_000 + number, if number % 2 == 0 { FAILED } else { BUSY }, &more));
    }
    let answer = answer_of(&records);
    assert!(answer.findings.iter().all(|finding| finding.value.value.as_deref() == Some("pay")), "{answer}");
    assert!(crate::http::shown::to_json(&answer).len() < 32 * 1024);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was sent, what is told adds up, and names nobody.
    #[test]
    fn what_is_told_adds_up_and_names_nobody(
        calls in prop::collection::vec((0u64..3, 0u64..4, prop::bool::weighted(0.3), 0u64..1_000, "[a-z ]{0,5}"), 0..300)
    ) {
        let mut records = Records::default();
        for (number, (idc, service, is_failing, second, data)) in (0..).zip(&calls) {
            let reason = if *is_failing { FAILED } else { BUSY };
            let data = data.replace(' ', "%20");
            let more = format!("&rc_idc=I{idc}&to_service_id=s{service}&from_user_id=person-{service}&app_svr_data={data}");
            records.add(*second, &call(number, reason, &more));
        }
        let answer = answer_of(&records);
        let within: Vec<_> = calls.iter().filter(|(.., second, _)| *second < END).collect();
        let failing = within.iter().filter(|(_, _, is_failing, ..)| *is_failing).count() as u64;
        prop_assert_eq!((answer.calls, answer.failing), (within.len() as u64, failing));
        for finding in &answer.findings {
            let told = [&finding.value].into_iter().chain(&finding.same_calls).chain(&finding.goes_with_it);
            for value in told {
                prop_assert!(value.failing <= failing && value.others <= answer.calls - failing);
                prop_assert!(value.exceeds_by > 0.0 && value.failing_share > value.others_share);
            }
        }
        for how in &answer.how_they_failed {
            prop_assert_eq!(how.values.iter().map(|end| end.calls).sum::<u64>() + how.others, failing);
        }
        let told = format!("{answer}{}", crate::http::shown::to_json(&answer));
        prop_assert!(!told.contains("person-") && !told.contains("user-"));
    }

    /// What failing calls have as often as the others never stands out.
    #[test]
    fn what_is_as_frequent_among_the_others_does_not_stand_out(
        values in prop::collection::vec((0u64..4, 0u64..9), 10..60), times in 1u64..4,
    ) {
        let mut records = Records::default();
        let mut number = 0;
        for (reason, times) in [(FAILED, 1), (BUSY, times)] {
            for _ in 0..times {
                for (idc, user) in &values {
                    // Of two calls with the same number everything else is the same too.
                    number += 1;
                    let more = format!(
                        "&rc_idc=I{idc}&type=A&to_service_id=s&from_user_id=u{user}&to_user_id=c&srcip=10.0.{user}.1&dstip=10.0.0.1&app_svr_data=x"
                    );
                    records.add(1, &call(number, reason, &more));
                }
            }
        }
        let answer = answer_of(&records);
        prop_assert!(answer.findings.is_empty(), "{answer}");
    }
}
