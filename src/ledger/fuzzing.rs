//! Laws of the totals: of what a call adds to them, and of a checkpoint, whatever the bytes are.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::checkpoint::{self, Checkpoint};
use super::histogram::Buckets;
use super::{Ledger, Limits};
use crate::callback::CallEvent;
use crate::journal::fuzzing::goes_on_from;
use crate::metrics::family::Value;
use crate::metrics::text;

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_582_527_600)
}

fn empty() -> Ledger {
    let buckets = |bounds: &[f64]| Buckets::new(bounds).unwrap_or_else(|error| panic!("{error}"));
    let limits = Limits { services: vec!["shop".to_owned()], ..Limits::default() };
    Ledger::new(noon(), limits, buckets(&[1.0, 60.0]), buckets(&[0.5, 5.0]))
}

/// A call is counted once, for good, and no label of it breaks a line of the page.
pub fn counted(query: &[u8]) {
    let Ok(event) = CallEvent::read(query, noon()) else { return };
    let mut ledger = empty();
    let before = series(&ledger);
    ledger.apply(event.clone());
    assert_eq!((ledger.calls(), ledger.answered()), (1, u64::from(event.answered)));
    assert_eq!(ledger.abnormal(), u64::from(event.fault_domain.is_abnormal()));
    let after = series(&ledger);
    // Those of the call, and what stands at 0 for its IDC.
    assert!(after <= before + 200, "{before} series became {after}");
    // Whether or not its class is known.
    let mut other = ledger.clone();
    other.apply(event.clone());
    ledger.apply(event);
    assert_eq!(ledger, other);
    assert_eq!((ledger.calls(), series(&ledger)), (2, after));
    is_whole(&ledger);
    is_kept(&Checkpoint::of(ledger));
}

/// A checkpoint. One that is read is the same when it is written again, and goes on counting.
pub fn kept(bytes: &[u8]) {
    for bytes in [bytes, &checkpoint::sealed(bytes)] {
        let read = match Checkpoint::decode(bytes, &Limits::default()) {
            Ok(read) => read,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        is_kept(&read);
        goes_on_from(read.position);
        let calls = read.ledger.calls();
        let mut ledger = read.ledger;
        is_whole(&ledger);
        let query = b"sid=1&type=V&duration=5&rc_idc=KR&rel_code=77&disconnect_reason=1399&terminate=16";
        for _ in 0..2 {
            if let Ok(event) = CallEvent::read(query, noon()) {
                ledger.apply(event);
            }
        }
        assert!(ledger.calls() >= calls, "totals never fall");
        is_whole(&ledger);
        let limits = Limits { services: vec!["shop".to_owned()], ..Limits::default() };
        let ledger = ledger.reconfigured(limits, &["JP".to_owned()], noon());
        let ledger = ledger.reconfigured(Limits::default(), &[], noon());
        assert!(ledger.calls() >= calls, "totals never fall");
        is_whole(&ledger);
    }
}

fn is_kept(checkpoint: &Checkpoint) {
    let encode = |checkpoint: &Checkpoint| checkpoint.encode().unwrap_or_else(|error| panic!("{error}"));
    let bytes = encode(checkpoint);
    let read = Checkpoint::decode(&bytes, &Limits::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read.position, checkpoint.position);
    assert_eq!(encode(&read), bytes);
}

fn series(ledger: &Ledger) -> usize {
    ledger.families().iter().map(|family| family.points.len()).sum()
}

/// Every sample is one line of the page.
fn is_whole(ledger: &Ledger) {
    let families = ledger.families();
    let samples = |value: &Value| match value {
        Value::Histogram { bounds, .. } => Arc::clone(bounds).len() + 3,
        _ => 1,
    };
    let expected: usize =
        families.iter().flat_map(|family| &family.points).map(|point| samples(&point.value)).sum();
    let page = text::render(&families);
    let lines = page.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines = lines.inspect(|line| assert!(line.starts_with("planet_"), "{line}"));
    assert_eq!(lines.count(), expected);
}
