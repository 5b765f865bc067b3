//! The tables are the published ones, and what is derived from them holds.

use super::*;
use crate::metrics::documented::assert_documented;

fn name_of(call_type: CallType) -> &'static str {
    match call_type {
        CallType::OneToOne => "one_to_one",
        CallType::Group => "group",
        CallType::Both => "both",
    }
}

#[test]
fn the_table_is_the_published_one() {
    let published = include_str!("../../../tests/data/disconnect-reasons.tsv");
    let mut rows = Vec::new();
    for reason in &DISCONNECT_REASONS {
        let sources: Vec<_> = reason.sources.iter().map(|releaser| releaser.as_str()).collect();
        let class = match reason.documented_class {
            DocumentedClass::Common => "common",
            DocumentedClass::Error => "error",
        };
        let fault = match reason.fault {
            Fault::Of(domain) => domain.as_str(),
            Fault::ByReleaser => "by_releaser",
        };
        let call_type = name_of(reason.call_type);
        rows.push(format!(
            "{}\t{}\t{call_type}\t{}\t{class}\t{fault}\t{}",
            reason.code,
            reason.name,
            sources.join(","),
            reason.meaning
        ));
    }
    let published: Vec<_> = published.lines().skip(1).collect();
    assert_eq!(rows, published);
}

#[test]
fn every_reason_is_found_and_lies_in_a_range_of_its_class() {
    for reason in &DISCONNECT_REASONS {
        assert_eq!(DisconnectReason::from_code(reason.code), Some(reason));
        let range = ReasonRange::of(reason.code).expect("a documented range");
        assert_eq!(range.documented_class, reason.documented_class, "{}", reason.name);
    }
}

#[test]
fn internal_error_is_charged_by_releaser() {
    let internal_error = DisconnectReason::from_code(1109).expect("INTERNAL_ERROR");
    assert_eq!(internal_error.fault_domain(Releaser::CloudServer), FaultDomain::Platform);
    for releaser in [Releaser::Caller, Releaser::Callee, Releaser::Participant, Releaser::Other] {
        assert_eq!(internal_error.fault_domain(releaser), FaultDomain::Client);
    }
}

#[test]
fn an_unknown_code_is_classed_by_its_range() {
    assert_eq!(fault_domain_of_unknown(1050), FaultDomain::None);
    assert_eq!(fault_domain_of_unknown(1250), FaultDomain::User);
    for error in [1150, 1399, 1450, 1599] {
        assert!(fault_domain_of_unknown(error).is_abnormal());
    }
    for nowhere in [i64::MIN, -1, 0, 1000, 1601, i64::MAX] {
        assert_eq!(fault_domain_of_unknown(nowhere), FaultDomain::Unknown);
        assert_eq!(ReasonRange::of(nowhere), None);
    }
}

#[test]
fn releasers_and_causes_are_found_by_their_codes() {
    for (code, releaser) in Releaser::TABLE {
        assert_eq!(Releaser::from_code(code), Some(releaser));
    }
    assert_eq!(Releaser::from_code(0), None);
    assert_eq!(Releaser::from_code(6), None);
    let codes: Vec<_> = ReleaseCause::TABLE.iter().map(|cause| cause.code).collect();
    assert_eq!(codes, [16, 17, 18, 21, 77, 127]);
    assert_eq!(ReleaseCause::from_code(77).map(|cause| cause.name), Some("CANCELED"));
    assert_eq!(ReleaseCause::from_code(31), None);
}

#[test]
fn fault_domains_are_what_fault_domain_answers() {
    for reason in &DISCONNECT_REASONS {
        for releaser in Releaser::TABLE.map(|(_, releaser)| releaser) {
            let domain = reason.fault_domain(releaser);
            assert!(reason.fault_domains().any(|possible| possible == domain));
        }
    }
}

#[test]
fn the_runbook_has_every_reason_and_what_to_do_first() {
    let mut table =
        String::from("| code | reason | meaning | fault domain | first action |\n|---|---|---|---|---|\n");
    for reason in DisconnectReason::all() {
        let domains: Vec<_> = reason.fault_domains().map(FaultDomain::as_str).collect();
        let DisconnectReason { code, name, meaning, first_action, .. } = reason;
        table += &format!("| {code} | `{name}` | {meaning} | {} | {first_action} |\n", domains.join(" or "));
    }
    assert_documented(
        "dashboards/RUNBOOK.md",
        "The rows are those of the table in `src/callback/reason`:\n\n",
        &table,
    );
}

#[test]
fn a_deprecated_code_stands_for_its_newer_kin() {
    for deprecated in &older::DEPRECATED_REASONS {
        let newer = DisconnectReason::from_code(deprecated.code).expect("a reason");
        assert_eq!(newer.code, deprecated.newer, "{}", deprecated.name);
        assert_eq!(ReasonRange::of(deprecated.code), ReasonRange::of(newer.code));
    }
    assert_eq!(DisconnectReason::from_code(1403), Some(&older::WRONG_ROOM_ATTR));
    let codes: Vec<_> = DisconnectReason::all().map(|reason| reason.code).collect();
    let deprecated = older::DEPRECATED_REASONS.iter().map(|reason| reason.code);
    assert!(deprecated.into_iter().all(|code| !codes.contains(&code)), "no code is in two tables");
}

#[test]
fn end_reasons_of_the_older_generation_have_labels_of_their_own() {
    let mut labels: Vec<_> = older::CALL_END_REASONS.iter().map(|reason| reason.label).collect();
    assert!(labels.iter().all(|label| label.starts_with("LEGACY_")));
    assert!(older::CALL_END_REASONS.is_sorted_by_key(|reason| reason.code));
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), older::CALL_END_REASONS.len());
}
