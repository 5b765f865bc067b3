//! Laws of what is told of calls, whatever they say.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::features::{Features, how, names_of_how};
use crate::callback::CallEvent;
use crate::http::shown;

/// The query of a call. What it may have in common with others is told once, in short, and acts on nobody who looks at it.
pub fn told(query: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_582_527_600);
    let Ok(event) = CallEvent::read(query, now) else { return };
    let (features, mut told) = (Features::default(), BTreeSet::new());
    features.each(&event, |aspect, value| {
        assert!(value.chars().count() < 128 && !value.contains(shown::acts), "{aspect:?} {value:?}");
        assert!(told.insert((aspect, value.to_owned())), "{aspect:?} {value:?} comes twice");
    });
    assert!(told.len() < 128, "{}", told.len());
    let mut names = Vec::new();
    how(&event, |name, value| {
        assert!(!value.is_empty() && !value.contains(shown::acts), "{name} {value:?}");
        names.push(name);
    });
    assert!(names.into_iter().eq(names_of_how()));
}
