//! What calls can have in common: where they come from and go to, and what the app said of itself.
//!
//! How a call ended is no such thing: that separates failing calls from others in any case ([`how`]).
//!
//! # People
//!
//! Who calls is never told, only how many. What could lead to a person (a network, what the app sent) is told only if several people have
//! it ([`Aspect::is_personal`]). Of `app_svr_data`, which may be anything, there are the names of its parts if it is JSON or a form, and
//! the values of those whose name says that they are of an app or a device.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::callback::CallEvent;
use crate::callback::call_event::Parameter;
use crate::callback::labels::{self, LabelSource, LabelValue};
use crate::http::shown;

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

    /// A value for people: what has it, and the value, in parentheses where it is not what was sent; `None` where it is a person.
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
    /// A hash of who is at an end of a call; two services may give the same user ID to different people. A call without a user ID is
    /// of somebody else each time.
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
        app_data(event, &mut note);
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

/// Parts of `app_svr_data` that are looked at, how deep in it, and the longest text that is taken apart, in bytes: the documented one.
const MOST_PARTS: usize = 32;
const DEEPEST: usize = 3;
const LONGEST_APP_DATA: usize = 4 * 1024;

/// The longest name of a part, with those that it is in.
const LONGEST_NAME: usize = 48;

/// What names of parts that are of an app or a device are made of, in lower case and without `-` and `_`.
const OF_APPS: [&str; 25] = [
    "sdk",
    "sdkver",
    "sdkversion",
    "planetkit",
    "planetkitversion",
    "os",
    "osname",
    "osver",
    "osversion",
    "platform",
    "app",
    "appid",
    "appver",
    "appversion",
    "ver",
    "version",
    "build",
    "buildnumber",
    "device",
    "model",
    "devicemodel",
    "network",
    "networktype",
    "carrier",
    "country",
];

fn app_data(event: &CallEvent<'_>, note: &mut impl FnMut(Aspect, &str)) {
    // The same data in either.
    let Some(data) = event.text(Parameter::AppSvrData).or(event.text(Parameter::Stid)) else {
        return note(Aspect::AppForm, "not sent");
    };
    if data.len() > LONGEST_APP_DATA {
        return note(Aspect::AppForm, "long");
    }
    let mut parts = Parts { names: Vec::new(), note };
    match serde_json::from_str(data) {
        Ok(Value::Object(object)) => {
            (parts.note)(Aspect::AppForm, "JSON");
            object.iter().for_each(|(name, value)| parts.add(name, value, 1));
        }
        Ok(_) | Err(_) => match form(data) {
            Some(pairs) => {
                (parts.note)(Aspect::AppForm, "a form");
                pairs.into_iter().for_each(|(name, value)| parts.add(&name, &Value::String(value), DEEPEST));
            }
            None => (parts.note)(Aspect::AppForm, "text"),
        },
    }
}

/// The pairs of a form, if all of it is one.
fn form(data: &str) -> Option<Vec<(String, String)>> {
    let is_form = data.split('&').all(|pair| pair.split_once('=').is_some_and(|(name, _)| is_name(name)));
    is_form.then(|| serde_urlencoded::from_str(data).ok()).flatten()
}

/// Whether a text is a name as programs have them, and not what a person wrote.
fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(is_part)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
}

/// The parts of `app_svr_data` that were told.
struct Parts<'n, N> {
    names: Vec<String>,
    note: &'n mut N,
}

impl<N: FnMut(Aspect, &str)> Parts<'_, N> {
    fn add(&mut self, name: &str, value: &Value, depth: usize) {
        if !is_name(name) || self.names.len() >= MOST_PARTS || self.names.iter().any(|known| known == name) {
            return;
        }
        self.names.push(name.to_owned());
        (self.note)(Aspect::AppName, name);
        match value {
            Value::Object(object) if depth < DEEPEST => {
                object
                    .iter()
                    .for_each(|(inner, value)| self.add(&format!("{name}.{inner}"), value, depth + 1));
            }
            Value::String(text) => self.add_value(name, text),
            Value::Number(number) => self.add_value(name, &number.to_string()),
            Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => {}
        }
    }

    fn add_value(&mut self, name: &str, value: &str) {
        let last = name.rsplit('.').next().unwrap_or(name);
        let last: String = last.to_ascii_lowercase().replace(['-', '_'], "");
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b" ._+-/()".contains(&byte);
        if OF_APPS.contains(&&*last)
            && (1..=LONGEST_VALUE).contains(&value.len())
            && value.bytes().all(is_usual)
        {
            (self.note)(Aspect::AppValue, &format!("{name}={value}"));
        }
    }
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

    /// What is told of `app_svr_data`.
    fn of_app(data: &str) -> Vec<(Aspect, String)> {
        let data = utf8_percent_encode(data, NON_ALPHANUMERIC);
        let mut features = features(&format!("sid=1&duration=1&app_svr_data={data}"));
        features.retain(|(aspect, _)| aspect.parameter() == Parameter::AppSvrData);
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
    fn app_data_is_told_by_names_and_by_what_an_app_says_of_itself() {
        let form = |text: &str| (Aspect::AppForm, text.to_owned());
        let name = |text: &str| (Aspect::AppName, text.to_owned());
        let value = |text: &str| (Aspect::AppValue, text.to_owned());
        let json = r#"{"sdk_version":"5.4.1","user":"Hana","device":{"os":"iOS 17","id":{"os":{"os":"deep"}}},"9":1,"no name":2,"ver":7}"#;
        let expected = [
            form("JSON"),
            name("device"),
            name("device.id"),
            name("device.id.os"),
            name("device.os"),
            value("device.os=iOS 17"),
            name("sdk_version"),
            value("sdk_version=5.4.1"),
            name("user"),
            name("ver"),
            value("ver=7"),
        ];
        assert_eq!(of_app(json), expected);
        assert_eq!(
            of_app("os=Android&user=Hana"),
            [form("a form"), name("os"), value("os=Android"), name("user")]
        );
        for text in ["appSvrData", "Hana says a=b", "[1, 2]", "\"os\"", "a=b&c"] {
            assert_eq!(of_app(text), [form("text")], "{text}");
        }
        assert_eq!(of_app(&"x".repeat(LONGEST_APP_DATA + 1)), [form("long")]);
        assert_eq!(of_app(""), [form("not sent")]);
        assert_eq!(of_app(&format!("os={}", "x".repeat(65))), [form("a form"), name("os")]);
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
            prop_assert!(told.len() <= 8 + 2 * MOST_PARTS);
            for (_, value) in told {
                prop_assert!(value.chars().count() <= LONGEST_NAME + 1 + LONGEST_VALUE + 1);
                prop_assert!(!value.contains("Hana") && !value.contains("113.77") && !value.contains(shown::acts));
            }
        }
    }
}
