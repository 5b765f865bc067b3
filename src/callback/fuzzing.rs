//! Laws of callbacks and of their records, whatever the bytes are.

use std::time::{Duration, SystemTime};

use super::call_event::{LONGEST, Parameter};
use super::labels::{LabelSource, LabelValue};
use super::{CallEvent, Kind, Record, envelope, record};
use crate::http::raw_query::as_text;

/// Names of unknown parameters that are asked for.
const MOST_NAMES: usize = 3;

/// When everything was received.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_582_527_600)
}

/// The query of a callback of any kind.
///
/// What has a key can be read; what is read says nothing that no call can be; and the event is the same when it comes
/// back from the journal, or from a text that was kept. Its texts are those that a library decodes.
pub fn query(query: &[u8]) {
    for kind in (0..=u8::MAX).filter_map(Kind::from_number) {
        let identified = kind.identify(query);
        assert!(kind.unknown_parameters(query, MOST_NAMES).len() <= MOST_NAMES);
        assert!(!kind.is_unmistakable(query) || identified.is_ok(), "what is without doubt can be read");
        let kept = kind.identify(as_text(query).as_bytes());
        assert_eq!(kept.map(|kept| kept.key), identified.map(|identified| identified.key));
        assert_eq!(kept.map(|kept| kept.fingerprint), identified.map(|identified| identified.fingerprint));
        let Ok(identified) = identified else { continue };
        let recorded = Record { kind, received_at: noon(), key: identified.key, envelope: b"/a\n", query };
        let bytes = recorded.encode();
        assert_eq!(Record::decode(&bytes), Ok(recorded));
        assert_eq!(Record::decode(&record::with_answer(&bytes, 404)), Ok(recorded));
    }
    let event = CallEvent::read(query, noon());
    assert_eq!(event.as_ref().err(), CallEvent::identify(query).err().as_ref());
    if let Ok(event) = event {
        is_decoded(&event, query);
        call_event(event);
    }
}

/// The texts of an event are those that a library decodes: of a repeated parameter the first, and none that is empty.
fn is_decoded(event: &CallEvent<'_>, query: &[u8]) {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(query).unwrap_or_default();
    for (parameter, name, ..) in Parameter::TABLE {
        let first = pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(event.text(parameter), first.filter(|value| !value.is_empty()), "{name}");
    }
}

fn call_event(mut event: CallEvent<'_>) {
    assert!(event.duration <= LONGEST && event.billed_seconds <= LONGEST.as_secs());
    assert!(event.setup_duration.is_none_or(|setup| setup <= LONGEST));
    assert!(event.answered || event.duration.is_zero() && event.start_time.is_none());
    for source in LabelSource::all() {
        match source.value(&event) {
            LabelValue::Known(value) => assert!(source.knows(value), "{}: {value}", source.name()),
            LabelValue::Foreign(value) => assert!(!value.is_empty(), "{}", source.name()),
        }
    }
    let longest = Duration::from_secs(60);
    event.cap(longest);
    assert!(event.duration <= longest && event.billed_seconds <= longest.as_secs());
}

/// A record of the journal. What is read of one is the same when it is written again.
pub fn journal_record(bytes: &[u8]) {
    // That of something else is read by nobody, and does no harm.
    let _ = record::answer(bytes);
    let Ok(read) = Record::decode(bytes) else { return };
    let written = read.encode();
    assert_eq!(Record::decode(&written), Ok(read));
    assert_eq!(record::answer(&record::with_answer(&written, 410)), Some(410));
    let (path, headers) = envelope::decode(read.envelope);
    if let Some(written) = path.and_then(|path| envelope::encode(path, &headers)) {
        // The length of a body is not kept.
        let mut kept = headers;
        kept.remove(hyper::header::CONTENT_LENGTH);
        assert_eq!(envelope::decode(&written), (path, kept));
    }
    if let Some(path) = path {
        let (before, target) = envelope::target(path, read.query);
        assert!(path.starts_with(before) && target.ends_with(read.query));
    }
    if let Ok(event) = read.call_event() {
        call_event(event);
    }
}
