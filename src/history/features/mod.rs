//! What calls can have in common: where they come from and go to, and what the app said of itself.
//!
//! How a call ended is no such thing: that separates failing calls from others in any case ([`how`]).
//!
//! # People
//!
//! Who calls is never told, only how many. What could lead to a person (a network, what the app sent) is told only if
//! several people have it ([`Aspect::is_personal`]). Of `app_svr_data`, which may be anything, there are the names of
//! its parts if it is JSON or a form, and the values of those whose name says that they are of an app or a device.

mod app_data;

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::callback::CallEvent;
use crate::callback::call_event::Parameter;
use crate::callback::labels::{self, LabelSource, LabelValue};
use crate::http::shown;
use ipnet::IpNet;

/// In what regard calls can be alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Aspect {
    /// The data centre that served the caller.
    Idc,
    /// The caller's service.
    FromService,
    /// The callee's service.
    ToService,
    /// Audio or video.
    MediaType,
    /// The caller. Its value is a hash.
    Caller,
    /// The callee. Its value is a hash.
    Callee,
    /// The network of the caller.
    CallerNetwork,
    /// The network of the callee.
    CalleeNetwork,
    /// What an app or a device says of itself in `app_svr_data`: name, `=`, value.
    AppValue,
    /// The name of a part of `app_svr_data`.
    AppName,
    /// Which form `app_svr_data` has.
    AppForm,
}

impl Aspect {
    /// All of them; of two that are alike, the first says more.
    pub const ALL: [Aspect; 11] = [
        Aspect::Idc,
        Aspect::FromService,
        Aspect::ToService,
        Aspect::MediaType,
        Aspect::Caller,
        Aspect::Callee,
        Aspect::CallerNetwork,
        Aspect::CalleeNetwork,
        Aspect::AppValue,
        Aspect::AppName,
        Aspect::AppForm,
    ];

    /// The parameter that it comes from.
    pub const fn parameter(self) -> Parameter {
        match self {
            Aspect::Idc => Parameter::RcIdc,
            Aspect::FromService => Parameter::FromServiceId,
            Aspect::ToService => Parameter::ToServiceId,
            Aspect::MediaType => Parameter::Type,
            Aspect::Caller => Parameter::FromUserId,
            Aspect::Callee => Parameter::ToUserId,
            Aspect::CallerNetwork => Parameter::SrcIp,
            Aspect::CalleeNetwork => Parameter::DstIp,
            Aspect::AppValue | Aspect::AppName | Aspect::AppForm => Parameter::AppSvrData,
        }
    }

    /// Whether a value may lead to a person unless several people have it.
    pub const fn is_personal(self) -> bool {
        matches!(self, Aspect::CallerNetwork | Aspect::CalleeNetwork | Aspect::AppValue | Aspect::AppName)
    }

    /// Whose value it is: of this end of the call.
    pub const fn person(self) -> Person {
        match self {
            Aspect::Callee | Aspect::CalleeNetwork => Person::Callee,
            _ => Person::Caller,
        }
    }

    /// A value for people: what has it, and the value, in parentheses where it is not what was sent; `None` where it is
    /// a person.
    pub fn shown(self, value: &str) -> (String, Option<String>) {
        let name = self.parameter().name().to_owned();
        match self {
            Aspect::Caller | Aspect::Callee => (name, None),
            Aspect::MediaType => (LabelSource::MediaType.name().to_owned(), Some(value.to_owned())),
            Aspect::AppValue => {
                let (part, value) = value.split_once('=').unwrap_or((value, ""));
                (format!("{name}.{part}"), Some(value.to_owned()))
            }
            Aspect::AppName => (format!("{name}.{value}"), Some("(sent)".to_owned())),
            Aspect::AppForm => (name, Some(format!("({value})"))),
            _ => (name, Some(value.to_owned())),
        }
    }
}

/// An end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// The one who calls.
    Caller,
    /// The one who is called.
    Callee,
}

/// The longest value that is told, in characters.
const LONGEST_VALUE: usize = 64;

/// What calls have in common, for one look back.
#[derive(Debug, Default)]
pub struct Features {
    /// What makes hashes of people those of this look alone.
    key: RandomState,
}

impl Features {
    /// A hash of who is at an end of a call; two services may give the same user ID to different people. A call without
    /// a user ID is of somebody else each time.
    pub fn person(&self, event: &CallEvent<'_>, person: Person) -> u64 {
        let (service, user) = match person {
            Person::Caller => (Parameter::FromServiceId, Parameter::FromUserId),
            Person::Callee => (Parameter::ToServiceId, Parameter::ToUserId),
        };
        match event.text(user) {
            Some(user) => self.key.hash_one((event.text(service), user)),
            None => self.key.hash_one(event.sid),
        }
    }

    /// Tells `note` everything that a call may have in common with others, each once.
    pub fn each(&self, event: &CallEvent<'_>, mut note: impl FnMut(Aspect, &str)) {
        note(Aspect::Idc, labels::idc_of_people(event));
        note(Aspect::MediaType, event.media_type.as_str());
        for aspect in [Aspect::FromService, Aspect::ToService] {
            if let Some(service) = event.text(aspect.parameter()) {
                note(aspect, &short(service));
            }
        }
        for aspect in [Aspect::Caller, Aspect::Callee] {
            if event.text(aspect.parameter()).is_some() {
                note(aspect, &format!("{:016x}", self.person(event, aspect.person())));
            }
        }
        for aspect in [Aspect::CallerNetwork, Aspect::CalleeNetwork] {
            if let Some(network) = event.text(aspect.parameter()).and_then(network) {
                note(aspect, &network);
            }
        }
        app_data::each(event, LONGEST_VALUE, &mut note);
    }
}

/// A value as it is told, without what acts on who looks at it.
fn short(text: &str) -> Cow<'_, str> {
    let text = shown::with_replacements(text);
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => text,
    }
}

/// The network of an address that carriers and companies have: 24 bits of IPv4, 48 of IPv6.
fn network(address: &str) -> Option<String> {
    let address = address.parse::<IpAddr>().ok()?.to_canonical();
    let bits = if address.is_ipv4() { 24 } else { 48 };
    Some(IpNet::new(address, bits).ok()?.trunc().to_string())
}

/// Tells `note` how a call ended: the name of each aspect, and its value.
pub fn how(event: &CallEvent<'_>, mut note: impl FnMut(&'static str, &str)) {
    for source in HOW {
        match source.value(event) {
            LabelValue::Known(value) => note(source.name(), value),
            LabelValue::Foreign(value) => note(source.name(), &value),
        }
    }
    note(DURATION, duration_class(event));
}

/// How a call ended, but for [`DURATION`].
const HOW: [LabelSource; 7] = [
    LabelSource::DisconnectReason,
    LabelSource::FaultDomain,
    LabelSource::Releaser,
    LabelSource::Terminate,
    LabelSource::RelCode,
    LabelSource::RelCodeStr,
    LabelSource::UserRelCode,
];

/// The name of how long the call lasted.
const DURATION: &str = "duration";

/// All names of how a call ended.
pub fn names_of_how() -> impl Iterator<Item = &'static str> {
    HOW.into_iter().map(LabelSource::name).chain([DURATION])
}

fn duration_class(event: &CallEvent<'_>) -> &'static str {
    match (event.answered, event.duration.as_secs()) {
        (false, _) => "not answered",
        (true, 0..10) => "below 10 s",
        (true, 10..60) => "below 1 min",
        (true, 60..600) => "below 10 min",
        (true, 600..) => "10 min and more",
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;
    use crate::history::past_of_tests::at;

    fn features(query: &str) -> Vec<(Aspect, String)> {
        let event = CallEvent::read(query.as_bytes(), at(0)).expect("a call");
        let mut features = Vec::new();
        Features::default().each(&event, |aspect, value| features.push((aspect, value.to_owned())));
        features
    }

    #[test]
    fn the_aspects_are_in_the_order_of_the_discriminants() {
        for (at, aspect) in Aspect::ALL.into_iter().enumerate() {
            assert_eq!(aspect as usize, at);
        }
    }

    #[test]
    fn networks_are_those_of_carriers_and_companies() {
        for (address, expected) in [
            ("203.0.113.77", Some("203.0.113.0/24")),
            ("::ffff:203.0.113.77", Some("203.0.113.0/24")),
            ("2001:db8:1:2::7", Some("2001:db8:1::/48")),
            ("somewhere", None),
            ("", None),
        ] {
            assert_eq!(network(address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn people_are_hashes_that_no_other_look_has() {
        let query = "sid=1&duration=1&from_user_id=hana&from_service_id=a&to_user_id=hana&to_service_id=a";
        let people = |features: Vec<(Aspect, String)>| -> Vec<String> {
            let people = features.into_iter().filter(|(aspect, _)| aspect.shown("x").1.is_none());
            people.map(|(_, hash)| hash).collect()
        };
        let (one, other) = (people(features(query)), people(features(query)));
        assert_eq!((one.len(), &one[0]), (2, &one[1]), "the same person at both ends");
        assert_ne!(one, other);
        let elsewhere = people(features(&query.replace("to_service_id=a", "to_service_id=b")));
        assert_ne!(elsewhere[0], elsewhere[1]);
    }

    proptest! {
        #[test]
        fn whatever_was_sent_is_told_once_and_in_short_and_names_nobody(
            data in "\\PC{0,80}|([a-z_]{1,12}=[a-z0-9%]{0,12}&){0,40}x=1|\\{(\"[a-z]{1,3}\":[0-9],){0,40}\"z\":\"\\PC{0,9}\"\\}",
            service in "\\PC{0,200}",
        ) {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let query = format!(
                "sid=1&duration=1&from_user_id=Hana&srcip=203.0.113.77&to_service_id={}&app_svr_data={}", encode(&service), encode(&data)
            );
            let told = features(&query);
            let mut unique = told.clone();
            unique.sort();
            unique.dedup();
            prop_assert_eq!(unique.len(), told.len());
            prop_assert!(told.len() <= 80);
            for (_, value) in told {
                prop_assert!(value.chars().count() < 2 * LONGEST_VALUE);
                prop_assert!(!value.contains("Hana") && !value.contains("113.77") && !value.contains(shown::acts));
            }
        }
    }
}
