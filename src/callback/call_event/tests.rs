//! Odd is not wrong: each oddity is read as what it can be, and noted; only what cannot be a call is refused.

use proptest::prelude::*;

use super::*;
use crate::callback::reason::DISCONNECT_REASONS;

/// The sample of LINE Planet's documentation, as names and values.
const SAMPLE: [(&str, &str); 21] = [
    ("sid", "6364e8b3-bdac-436e-9631-0bce2498ce0c"),
    ("type", "V"),
    ("from_user_id", "9286"),
    ("from_service_id", "caller-service-id"),
    ("to_user_id", "2809"),
    ("to_service_id", "callee-service-id"),
    ("setup_time", "1582527400"),
    ("start_time", "1582527404"),
    ("end_time", "1582527434"),
    ("duration", "30"),
    ("terminate", "16"),
    ("srcip", "1.2.3.4"),
    ("dstip", "1.2.3.5"),
    ("stid", "voip.next"),
    ("rel_code", "1"),
    ("rel_code_str", "NORMAL"),
    ("billing_sec", "25"),
    ("rc_idc", "KR"),
    ("disconnect_reason", "1001"),
    ("releaser_type", "1"),
    ("app_svr_data", "appSvrData"),
];

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn query(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={value}");
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// The sample with other values, and more at its end. `None` leaves a parameter out.
fn sample_with(changes: &[(&str, Option<&str>)]) -> String {
    let mut pairs = SAMPLE.to_vec();
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name || value.is_some());
        match (pairs.iter_mut().find(|(known, _)| known == name), *value) {
            (Some(pair), Some(value)) => pair.1 = value,
            (None, Some(value)) => pairs.push((name, value)),
            (_, None) => {}
        }
    }
    query(&pairs)
}

fn read(query: &str) -> CallEvent<'_> {
    CallEvent::read(query.as_bytes(), NOW).expect("a call")
}

fn anomalies(query: &str) -> Vec<Anomaly> {
    read(query).anomalies.iter().collect()
}

fn at(seconds: u64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_documented_sample_is_read_exactly() {
    let query = query(&SAMPLE);
    let event = read(&query);
    assert!(event.anomalies.is_empty());
    assert_eq!(event.media_type, MediaType::Video);
    assert_eq!(
        (event.setup_time, event.start_time, event.end_time),
        (at(1582527400), at(1582527404), at(1582527434))
    );
    assert_eq!((event.answered, event.duration, event.setup_duration), (true, seconds(30), Some(seconds(4))));
    assert_eq!((event.billed_seconds, event.text(Parameter::RcIdc)), (25, Some("KR")));
    assert_eq!(event.reason, Reason::Known(&DISCONNECT_REASONS[0]));
    assert_eq!((event.releaser, event.fault_domain), (Releaser::Callee, FaultDomain::None));
    for (name, value) in SAMPLE {
        let parameter = Parameter::TABLE.iter().find(|row| row.1 == name).expect("a documented parameter").0;
        assert_eq!(event.text(parameter), Some(value));
    }
    assert_eq!(event.text(Parameter::UserRelCode), None);
}

#[test]
fn times_in_milliseconds_keep_their_precision() {
    let times =
        [("setup_time", "1582527400250"), ("start_time", "1582527404000"), ("end_time", "1582527434500")];
    let changes: Vec<_> = times.iter().map(|(name, value)| (*name, Some(*value))).collect();
    let query = sample_with(&changes);
    let event = read(&query);
    assert_eq!(event.anomalies.iter().collect::<Vec<_>>(), [Anomaly::Milliseconds]);
    assert_eq!((event.duration, event.setup_duration), (seconds(30), Some(Duration::from_millis(3750))));
    // The duration can be in milliseconds, too.
    let changes = [&changes[..], &[("duration", Some("30500"))]].concat();
    assert_eq!(read(&sample_with(&changes)).duration, Duration::from_millis(30_500));
}

#[test]
fn unknown_codes_keep_their_number_and_fall_to_bounded_labels() {
    for (code, fault_domain) in [
        ("1050", FaultDomain::None),
        ("1150", FaultDomain::Unknown),
        ("1250", FaultDomain::User),
        ("1399", FaultDomain::Unknown),
        ("1406", FaultDomain::Unknown),
        ("1599", FaultDomain::Unknown),
        ("7", FaultDomain::Unknown),
        ("-7", FaultDomain::Unknown),
    ] {
        let query = sample_with(&[("disconnect_reason", Some(code))]);
        let event = read(&query);
        assert_eq!(event.reason, Reason::Unknown(code.parse().expect("a number")));
        assert_eq!(event.fault_domain, fault_domain, "{code}");
        assert_eq!(event.anomalies.iter().collect::<Vec<_>>(), [Anomaly::UnknownDisconnectReason]);
    }
    let query = sample_with(&[("releaser_type", Some("9"))]);
    assert_eq!(
        (read(&query).releaser, anomalies(&query)),
        (Releaser::Other, vec![Anomaly::UnknownReleaserType])
    );
    let query = sample_with(&[("type", Some("X"))]);
    assert_eq!(
        (read(&query).media_type, anomalies(&query)),
        (MediaType::Other, vec![Anomaly::UnknownMediaType])
    );
    let unknown_cause = older_with(&[
        ("terminate", Some("31")),
        ("releaser", Some("initiator")),
        ("rel_code_str", Some("x")),
    ]);
    assert_eq!(anomalies(&unknown_cause), [Anomaly::UnknownTerminate]);
}

#[test]
fn each_parameter_but_the_sid_may_be_missing_or_empty() {
    for (parameter, name, _, nullable) in Parameter::TABLE {
        let is_not_in_the_sample =
            matches!(parameter, Parameter::UserRelCode | Parameter::CallEndReason | Parameter::Releaser);
        if parameter == Parameter::Sid || is_not_in_the_sample {
            continue;
        }
        for value in [None, Some("")] {
            let query = sample_with(&[(name, value)]);
            let missing = anomalies(&query).contains(&Anomaly::MissingParameter);
            assert_eq!(missing, !nullable, "{name} as {value:?}");
            assert_eq!(read(&query).text(parameter), None);
        }
    }
}

/// The sample as the older generation of the callback sends it, unanswered.
fn older_with(changes: &[(&str, Option<&str>)]) -> String {
    let older = [
        ("billing_sec", None),
        ("rc_idc", None),
        ("disconnect_reason", None),
        ("releaser_type", None),
        ("app_svr_data", None),
        ("rel_code_str", None),
        ("duration", Some("0")),
        ("start_time", Some("0")),
    ];
    sample_with(&[&older[..], changes].concat())
}

#[test]
fn what_tells_nothing_of_a_reason_is_judged_by_its_text_or_its_cause() {
    let unanswered = |terminate, text| older_with(&[("terminate", Some(terminate)), ("rel_code_str", text)]);
    for (terminate, text, fault_domain) in [
        // The cause of an answered call is the cause of a call that broke before as well.
        ("16", None, FaultDomain::Unknown),
        ("16", Some("NETWORK"), FaultDomain::Unknown),
        ("16", Some("NORMAL"), FaultDomain::None),
        ("16", Some("CANCEL"), FaultDomain::User),
        ("17", None, FaultDomain::User),
        ("77", None, FaultDomain::User),
        ("127", None, FaultDomain::Unknown),
        ("127", Some("CANCEL"), FaultDomain::User),
    ] {
        let query = unanswered(terminate, text);
        let event = read(&query);
        assert_eq!((event.reason, event.releaser), (Reason::NotSent, Releaser::Other));
        assert_eq!(event.fault_domain, fault_domain, "{terminate} {text:?}");
        assert_eq!(event.anomalies.iter().collect::<Vec<_>>(), [Anomaly::MissingParameter]);
    }
    let answered = older_with(&[("terminate", Some("16")), ("duration", Some("30"))]);
    assert_eq!(read(&answered).fault_domain, FaultDomain::None);
}

#[test]
fn the_older_generation_has_reasons_and_releasers_of_its_own() {
    for (code, fault_domain) in [
        ("1001", FaultDomain::User),
        ("1005", FaultDomain::None),
        ("1011", FaultDomain::Network),
        ("1013", FaultDomain::Client),
        ("1019", FaultDomain::Application),
        ("1021", FaultDomain::Platform),
        ("1100", FaultDomain::Unknown),
    ] {
        let query = older_with(&[
            ("call_end_reason", Some(code)),
            ("releaser", Some("responder")),
            ("rel_code_str", Some("x")),
        ]);
        let event = read(&query);
        let reason = CallEndReason::from_code(code.parse().expect("a number")).expect("a reason");
        assert_eq!((event.reason, event.fault_domain), (Reason::Older(reason), fault_domain));
        assert_eq!(event.releaser, Releaser::Callee);
        // What this generation does not have is not missing in it.
        assert!(event.anomalies.is_empty(), "{:?}", event.anomalies);
    }
    for (text, releaser) in [("initiator", Releaser::Caller), ("mcs-1.example", Releaser::CloudServer)] {
        assert_eq!(read(&older_with(&[("releaser", Some(text))])).releaser, releaser);
    }
    let unknown = older_with(&[("call_end_reason", Some("1099")), ("rel_code_str", Some("NORMAL"))]);
    assert_eq!(
        (read(&unknown).reason, read(&unknown).fault_domain, anomalies(&unknown)),
        (Reason::UnknownOlder(1099), FaultDomain::Unknown, vec![Anomaly::UnknownCallEndReason])
    );
    // The number of the one generation is never read as that of the other.
    let both = sample_with(&[("call_end_reason", Some("1001"))]);
    assert_eq!(read(&both).reason, Reason::Known(&DISCONNECT_REASONS[0]));
}

#[test]
fn a_call_of_less_than_a_second_is_known_by_what_was_billed() {
    let short =
        sample_with(&[("duration", Some("0")), ("end_time", Some("1582527404")), ("billing_sec", Some("1"))]);
    let event = read(&short);
    assert_eq!((event.answered, event.duration, event.billed_seconds), (true, Duration::ZERO, 1));
    assert_eq!((event.start_time, event.setup_duration), (at(1582527404), Some(seconds(4))));
    assert_eq!(anomalies(&short), [Anomaly::BilledWithoutDuration]);
    let unanswered =
        sample_with(&[("duration", Some("0")), ("start_time", Some("0")), ("billing_sec", Some("0"))]);
    assert!(!read(&unanswered).answered);
}

#[test]
fn more_than_the_duration_is_billed_by_a_started_second_at_most() {
    for (billed, expected) in [
        ("25", vec![]),
        ("31", vec![]),
        ("32", vec![Anomaly::BilledExceedsDuration]),
        ("604000", vec![Anomaly::BilledExceedsDuration]),
    ] {
        assert_eq!(anomalies(&sample_with(&[("billing_sec", Some(billed))])), expected, "{billed}");
    }
}

#[test]
fn spaces_around_a_number_are_no_part_of_it() {
    let query = sample_with(&[
        ("terminate", Some("+16")),
        ("duration", Some("30%20")),
        ("disconnect_reason", Some("+1301+")),
    ]);
    let event = read(&query);
    assert_eq!((event.duration, event.fault_domain), (seconds(30), FaultDomain::Network));
    assert!(event.anomalies.is_empty());
}

#[test]
fn what_is_counted_has_the_same_fingerprint_however_it_is_written() {
    let fingerprint = |changes: &[(&str, Option<&str>)]| {
        CallEvent::identify(sample_with(changes).as_bytes()).expect("a call").fingerprint
    };
    let usual = fingerprint(&[]);
    for same in [("terminate", Some("+16+")), ("app_svr_data", Some("other")), ("billing_sec", None)] {
        assert!(!fingerprint(&[same]).contradicts(usual), "{same:?}");
    }
    for other in [
        ("terminate", Some("17")),
        ("duration", Some("31")),
        ("disconnect_reason", Some("1301")),
        ("disconnect_reason", None),
        ("call_end_reason", Some("1001")),
    ] {
        assert!(fingerprint(&[other]).contradicts(usual), "{other:?}");
    }
}

#[test]
fn what_is_not_plausible_is_capped() {
    let query =
        sample_with(&[("duration", Some("7200")), ("start_time", Some("0")), ("billing_sec", Some("9000"))]);
    let mut event = read(&query);
    let before = event.clone();
    event.cap(seconds(9_000));
    assert_eq!(event, before);
    event.cap(seconds(3_600));
    assert_eq!((event.duration, event.billed_seconds), (seconds(3_600), 3_600));
    assert!(event.anomalies.contains(Anomaly::ImpossibleDuration));
}

#[test]
fn the_first_of_a_repeated_parameter_counts_and_an_unknown_one_does_not() {
    let repeated = query(&SAMPLE) + "&duration=99&duration=98";
    assert_eq!(
        (read(&repeated).duration, anomalies(&repeated)),
        (seconds(30), vec![Anomaly::RepeatedParameter])
    );
    let unknown = query(&SAMPLE) + "&sdk=7";
    assert_eq!(
        (read(&unknown).duration, anomalies(&unknown)),
        (seconds(30), vec![Anomaly::UnknownParameter])
    );
}

#[test]
fn app_data_may_hold_any_script_and_any_bytes() {
    let decoded = "통화 ข้อมูล\n\0\"";
    let encoded: String = decoded.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let query = sample_with(&[("app_svr_data", Some(&encoded)), ("user_rel_code", Some(&encoded))]);
    assert_eq!(read(&query).text(Parameter::AppSvrData), Some(decoded));
    assert_eq!(anomalies(&query), []);
    let query = sample_with(&[("user_rel_code", Some("%ff%fe"))]);
    assert_eq!(anomalies(&query), [Anomaly::NotUtf8]);
    // A percent sign that escapes nothing stands for itself.
    let query = sample_with(&[("app_svr_data", Some("100%"))]);
    assert_eq!((read(&query).text(Parameter::AppSvrData), anomalies(&query)), (Some("100%"), vec![]));
}

#[test]
fn a_clock_that_runs_backwards_gives_no_setup_duration() {
    let query = sample_with(&[("setup_time", Some("1582527405"))]);
    assert_eq!((read(&query).setup_duration, anomalies(&query)), (None, vec![Anomaly::ClockBackwards]));
    let query = sample_with(&[("end_time", Some("1582527403"))]);
    assert_eq!((read(&query).duration, anomalies(&query)), (seconds(30), vec![Anomaly::ClockBackwards]));
}

#[test]
fn the_duration_is_believed_against_the_times_and_the_cause() {
    let query = sample_with(&[("duration", Some("29"))]);
    assert_eq!(
        (read(&query).duration, anomalies(&query)),
        (seconds(29), vec![Anomaly::DurationContradictsTimes])
    );
    let query = sample_with(&[("terminate", Some("17"))]);
    assert_eq!(
        (read(&query).answered, anomalies(&query)),
        (true, vec![Anomaly::TerminateContradictsDuration])
    );
    // Where it is missing, the times tell.
    let query = sample_with(&[("duration", None)]);
    assert_eq!((read(&query).duration, anomalies(&query)), (seconds(30), vec![Anomaly::MissingParameter]));
}

#[test]
fn impossible_numbers_are_bounded() {
    for duration in ["-1", "604801", "9223372036854775807", "-9223372036854775808"] {
        let query = sample_with(&[("duration", Some(duration))]);
        assert_eq!(
            (read(&query).duration, anomalies(&query)),
            (seconds(30), vec![Anomaly::ImpossibleDuration])
        );
        let without_times = sample_with(&[("duration", Some(duration)), ("start_time", Some("0"))]);
        let bounded = if duration.starts_with('-') { Duration::ZERO } else { LONGEST };
        assert_eq!(read(&without_times).duration, bounded, "{duration}");
        let query = sample_with(&[("billing_sec", Some(duration))]);
        assert!(read(&query).billed_seconds <= LONGEST.as_secs());
        assert!(read(&query).anomalies.contains(Anomaly::ImpossibleDuration));
        let query = sample_with(&[("end_time", Some(duration))]);
        assert_eq!((read(&query).end_time, anomalies(&query)), (None, vec![Anomaly::ImpossibleTime]));
    }
    for number in ["99999999999999999999", "3x", "3.0", "%20"] {
        let query = sample_with(&[("billing_sec", Some(number))]);
        assert_eq!(
            (read(&query).billed_seconds, anomalies(&query)),
            (0, vec![Anomaly::UnusableNumber]),
            "{number}"
        );
    }
}

#[test]
fn what_cannot_be_a_call_is_refused_with_the_parameter_to_blame() {
    let refused = |query: &str| CallEvent::read(query.as_bytes(), NOW).expect_err("no call");
    assert_eq!((refused(""), refused("").parameter()), (NotACall::NoQuery, None));
    assert_eq!(refused("hello"), NotACall::NotForm);
    assert_eq!(refused("duration=3"), NotACall::NoSid);
    assert_eq!(refused("duration=3&sid="), NotACall::NoSid);
    assert_eq!(refused("duration=3&sid=").parameter(), Some("sid"));
    assert_eq!(refused("sid=1"), NotACall::NoUsableNumber);
    assert_eq!(refused("sid=1&duration=x&billing_sec=5"), NotACall::NoUsableNumber);
    assert!(CallEvent::read(b"sid=1&duration=0", NOW).is_ok());
}

/// Values as hostile as they come.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0i64..3).prop_map(|number| number.to_string()),
        (900_000_000i64..5_000_000_000).prop_map(|number| number.to_string()),
        (900_000_000_000i64..5_000_000_000_000).prop_map(|number| number.to_string()),
        Just(i64::MIN.to_string()),
        Just(i64::MAX.to_string()),
        ".{0,12}".prop_map(|text| text.bytes().map(|byte| format!("%{byte:02x}")).collect()),
    ]
}

fn hostile_query() -> impl Strategy<Value = String> {
    let name = (0..Parameter::COUNT).prop_map(|index| Parameter::TABLE[index].1);
    prop::collection::vec((name, value()), 0..30).prop_map(|pairs| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        "sid=1&duration=0&".to_owned() + &query(&pairs)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let read = CallEvent::read(&bytes, NOW);
        prop_assert_eq!(&read, &CallEvent::read(&bytes, NOW));
        prop_assert_eq!(CallEvent::identify(&bytes).map(|identified| identified.key), read.map(|event| event.sid));
    }

    #[test]
    fn what_has_a_key_can_be_read(query in hostile_query()) {
        prop_assert_eq!(CallEvent::identify(query.as_bytes()).map(|identified| identified.key), Ok(read(&query).sid));
    }

    #[test]
    fn whatever_is_read_is_bounded_and_consistent(query in hostile_query()) {
        let event = read(&query);
        prop_assert!(event.duration <= LONGEST && event.billed_seconds <= LONGEST.as_secs());
        prop_assert!(event.setup_duration.is_none_or(|duration| duration <= LONGEST));
        prop_assert_eq!(event.answered, !event.duration.is_zero() || event.billed_seconds > 0);
    }

    #[test]
    fn the_order_of_parameters_does_not_matter(pairs in Just(SAMPLE.to_vec()).prop_shuffle()) {
        let (shuffled, usual) = (query(&pairs), query(&SAMPLE));
        prop_assert_eq!(read(&shuffled), read(&usual));
    }
}
