//! The query parameters of the 1-to-1 call event callback, and how a query string is taken apart into them.
//!
//! Source: LINE Planet's documentation of the 1-to-1 call event callback.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::callback::anomaly::{Anomalies, Anomaly};

/// A documented parameter of a call event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Parameter {
    /// Session ID of the call.
    Sid,
    /// The caller's service.
    FromServiceId,
    /// The caller's user ID.
    FromUserId,
    /// The callee's service.
    ToServiceId,
    /// The callee's user ID.
    ToUserId,
    /// Media type: `A` voice, `V` video.
    Type,
    /// Deprecated; the same data as `app_svr_data`.
    Stid,
    /// When the call was created, in Unix seconds.
    SetupTime,
    /// When the call was answered, in Unix seconds; 0 or equal to the end where it never was.
    StartTime,
    /// When the call ended, in Unix seconds.
    EndTime,
    /// Seconds from answer to end; 0 if the call failed.
    Duration,
    /// IP address of the caller.
    SrcIp,
    /// IP address of the callee.
    DstIp,
    /// Simple release cause, a Q.850 code.
    Terminate,
    /// Detailed release code.
    RelCode,
    /// Text of the detailed release code.
    RelCodeStr,
    /// Release code defined by the application.
    UserRelCode,
    /// Billed seconds.
    BillingSec,
    /// The data centre that served the caller.
    RcIdc,
    /// Why the call was disconnected.
    DisconnectReason,
    /// Who disconnected it.
    ReleaserType,
    /// Data that the app passed to `makeCall()`.
    AppSvrData,
    /// Why the call ended, from servers of the older generation.
    CallEndReason,
    /// Who ended it, from servers of the older generation.
    Releaser,
}

/// What a parameter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text.
    Text,
    /// A decimal number.
    Number,
    /// A user ID or an IP address, which leaves the exporter only as `--identity` allows.
    Identity,
}

impl Parameter {
    /// How many parameters there are.
    pub const COUNT: usize = 24;

    /// Every parameter with its name, what it holds, and whether it may be missing or empty, in the documented order. The last
    /// two stand in the documents of 2020 and 2021 only.
    pub const TABLE: [(Parameter, &'static str, ValueKind, bool); Parameter::COUNT] = [
        (Parameter::Sid, "sid", ValueKind::Text, false),
        (Parameter::FromServiceId, "from_service_id", ValueKind::Text, false),
        (Parameter::FromUserId, "from_user_id", ValueKind::Identity, false),
        (Parameter::ToServiceId, "to_service_id", ValueKind::Text, false),
        (Parameter::ToUserId, "to_user_id", ValueKind::Identity, false),
        (Parameter::Type, "type", ValueKind::Text, false),
        (Parameter::Stid, "stid", ValueKind::Text, true),
        (Parameter::SetupTime, "setup_time", ValueKind::Number, false),
        (Parameter::StartTime, "start_time", ValueKind::Number, false),
        (Parameter::EndTime, "end_time", ValueKind::Number, false),
        (Parameter::Duration, "duration", ValueKind::Number, false),
        (Parameter::SrcIp, "srcip", ValueKind::Identity, false),
        (Parameter::DstIp, "dstip", ValueKind::Identity, false),
        (Parameter::Terminate, "terminate", ValueKind::Number, false),
        (Parameter::RelCode, "rel_code", ValueKind::Number, false),
        (Parameter::RelCodeStr, "rel_code_str", ValueKind::Text, false),
        (Parameter::UserRelCode, "user_rel_code", ValueKind::Text, true),
        (Parameter::BillingSec, "billing_sec", ValueKind::Number, false),
        (Parameter::RcIdc, "rc_idc", ValueKind::Text, false),
        (Parameter::DisconnectReason, "disconnect_reason", ValueKind::Number, false),
        (Parameter::ReleaserType, "releaser_type", ValueKind::Number, false),
        (Parameter::AppSvrData, "app_svr_data", ValueKind::Text, true),
        (Parameter::CallEndReason, "call_end_reason", ValueKind::Number, true),
        (Parameter::Releaser, "releaser", ValueKind::Text, true),
    ];

    /// Whether servers of the older generation did not send it yet.
    const fn is_newer(self) -> bool {
        matches!(
            self,
            Parameter::BillingSec | Parameter::RcIdc | Parameter::DisconnectReason | Parameter::ReleaserType
        )
    }

    /// The parameter's name in the query.
    pub const fn name(self) -> &'static str {
        Parameter::TABLE[self as usize].1
    }

    /// What the parameter holds.
    pub const fn kind(self) -> ValueKind {
        Parameter::TABLE[self as usize].2
    }

    /// The order in which parameters come as a rule: that of the documented sample, and behind it those that it does not have.
    const USUAL_ORDER: [Parameter; Parameter::COUNT] = [
        Parameter::Sid,
        Parameter::Type,
        Parameter::FromUserId,
        Parameter::FromServiceId,
        Parameter::ToUserId,
        Parameter::ToServiceId,
        Parameter::SetupTime,
        Parameter::StartTime,
        Parameter::EndTime,
        Parameter::Duration,
        Parameter::Terminate,
        Parameter::SrcIp,
        Parameter::DstIp,
        Parameter::Stid,
        Parameter::RelCode,
        Parameter::RelCodeStr,
        Parameter::BillingSec,
        Parameter::RcIdc,
        Parameter::DisconnectReason,
        Parameter::ReleaserType,
        Parameter::AppSvrData,
        Parameter::UserRelCode,
        Parameter::CallEndReason,
        Parameter::Releaser,
    ];

    pub(super) fn from_name(name: &str) -> Option<Parameter> {
        Parameter::TABLE.iter().find(|(_, known, _, _)| *known == name).map(|(parameter, ..)| *parameter)
    }
}

/// The decoded values of a query string, one for each parameter that was there and not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Values<'q> {
    texts: [Option<Cow<'q, str>>; Parameter::COUNT],
    /// Of those that hold numbers.
    numbers: [Option<i64>; Parameter::COUNT],
}

#[derive(Deserialize)]
struct Pair<'q>(#[serde(borrow)] Cow<'q, str>, #[serde(borrow)] Cow<'q, str>);

impl<'q> Values<'q> {
    /// Takes a query string apart into these, which are empty. They are large, so nobody hands them over. Of a repeated
    /// parameter the first value counts.
    pub(super) fn decode(
        &mut self,
        query: &'q [u8],
        anomalies: &mut Anomalies,
    ) -> Result<(), serde_urlencoded::de::Error> {
        let mut seen = [false; Parameter::COUNT];
        let mut add = |parameter: Option<Parameter>, value: Cow<'q, str>| {
            let Some(parameter) = parameter else {
                return anomalies.insert(Anomaly::UnknownParameter);
            };
            if std::mem::replace(&mut seen[parameter as usize], true) {
                return anomalies.insert(Anomaly::RepeatedParameter);
            }
            if !value.is_empty() {
                self.texts[parameter as usize] = Some(value);
            }
        };
        let is_plain = query.is_ascii() && !is_encoded(query);
        match str::from_utf8(query) {
            // Taken apart in place, and only what is encoded is decoded: to decode all of it, byte by byte, would be
            // most of the work of a request.
            Ok(text) => {
                for (parameter, value) in Pairs::new(text) {
                    let value = if is_plain { Cow::Borrowed(value) } else { decoded(value) };
                    add(parameter, value);
                }
            }
            Err(_) => {
                let pairs: Vec<Pair<'q>> = serde_urlencoded::from_bytes(query)?;
                for Pair(name, value) in pairs {
                    add(Parameter::from_name(&name), value);
                }
            }
        }
        let mut texts = self.texts.iter().flatten().filter(|text| !text.is_ascii());
        if !is_plain && texts.any(|text| text.contains(char::REPLACEMENT_CHARACTER)) {
            anomalies.insert(Anomaly::NotUtf8);
        }
        self.read_numbers(anomalies);
        Ok(())
    }

    /// Reads numbers once, since each is asked for several times. Notes those that are none, and what is missing.
    fn read_numbers(&mut self, anomalies: &mut Anomalies) {
        let Values { texts, numbers } = self;
        let is_older = [Parameter::CallEndReason, Parameter::Releaser]
            .into_iter()
            .any(|parameter| texts[parameter as usize].is_some());
        for ((text, number), (parameter, _, kind, nullable)) in
            texts.iter().zip(numbers).zip(&Parameter::TABLE)
        {
            match text {
                Some(text) if *kind == ValueKind::Number => {
                    *number = text.trim_ascii().parse().ok();
                    if number.is_none() {
                        anomalies.insert(Anomaly::UnusableNumber);
                    }
                }
                Some(_) => {}
                None if *nullable || is_older && parameter.is_newer() => {}
                None => anomalies.insert(Anomaly::MissingParameter),
            }
        }
    }

    pub(super) fn text(&self, parameter: Parameter) -> Option<&str> {
        self.texts[parameter as usize].as_deref()
    }

    /// The parameter as the number that it is to hold, with or without spaces around it, or `None` if it is missing or
    /// no decimal number.
    pub(super) fn number(&self, parameter: Parameter) -> Option<i64> {
        debug_assert!(parameter.kind() == ValueKind::Number, "{} holds no number", parameter.name());
        self.numbers[parameter as usize]
    }
}

/// The parameters of a form and their values as they stand there.
struct Pairs<'q> {
    rest: &'q str,
    /// What comes next if the order is the usual one, so that names need not be looked for.
    expected: &'static [Parameter],
}

impl<'q> Pairs<'q> {
    fn new(text: &'q str) -> Pairs<'q> {
        Pairs { rest: text, expected: &Parameter::USUAL_ORDER }
    }

    /// The next parameter if it is the expected one, and what comes behind its `=`.
    fn expected(&mut self) -> Option<(Parameter, &'q str)> {
        let (parameter, expected) = self.expected.split_first()?;
        let behind = self.rest.strip_prefix(parameter.name())?.strip_prefix('=')?;
        self.expected = expected;
        Some((*parameter, behind))
    }

    /// The next parameter, whatever it is, and what comes behind its `=`, if it has one.
    #[cold]
    fn any(&mut self) -> (Option<Parameter>, &'q str) {
        let end = memchr2(b'=', b'&', self.rest.as_bytes()).unwrap_or(self.rest.len());
        let (name, behind) = self.rest.split_at(end);
        let parameter = Parameter::from_name(&decoded(name));
        if let Some(at) = Parameter::USUAL_ORDER.iter().position(|usual| Some(*usual) == parameter) {
            self.expected = &Parameter::USUAL_ORDER[at + 1..];
        }
        (parameter, behind.strip_prefix('=').unwrap_or(behind))
    }
}

impl<'q> Iterator for Pairs<'q> {
    type Item = (Option<Parameter>, &'q str);

    fn next(&mut self) -> Option<(Option<Parameter>, &'q str)> {
        while let Some(behind) = self.rest.strip_prefix('&') {
            self.rest = behind;
        }
        if self.rest.is_empty() {
            return None;
        }
        let (parameter, behind) = match self.expected() {
            Some((parameter, behind)) => (Some(parameter), behind),
            None => self.any(),
        };
        let (value, behind) = behind.split_at(memchr(b'&', behind.as_bytes()).unwrap_or(behind.len()));
        self.rest = behind;
        Some((parameter, value))
    }
}

/// Whether anything of a form is not as it stands there.
fn is_encoded(form: &[u8]) -> bool {
    memchr2(b'%', b'+', form).is_some()
}

/// A name or value of a form (URL Standard, application/x-www-form-urlencoded).
fn decoded(text: &str) -> Cow<'_, str> {
    match is_encoded(text.as_bytes()) {
        true => Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::btree_map::{BTreeMap, Entry};

    use proptest::prelude::*;

    use super::*;

    /// What a query holds as a library decodes it, and what is odd about its names and its texts.
    fn expected(query: &[u8]) -> (BTreeMap<&'static str, String>, [bool; 3]) {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(query).expect("a form");
        let (mut values, [mut is_unknown, mut is_repeated, mut is_not_utf8]) = (BTreeMap::new(), [false; 3]);
        for (name, value) in pairs {
            let known = Parameter::TABLE.into_iter().find(|(_, known, ..)| *known == name);
            match known.map(|(_, name, ..)| values.entry(name)) {
                None => is_unknown = true,
                Some(Entry::Occupied(_)) => is_repeated = true,
                Some(Entry::Vacant(place)) => {
                    is_not_utf8 |= value.contains(char::REPLACEMENT_CHARACTER);
                    place.insert(value);
                }
            }
        }
        values.retain(|_, value| !value.is_empty());
        (values, [is_unknown, is_repeated, is_not_utf8])
    }

    /// The name of a parameter, as it is or encoded, or another one.
    fn name() -> impl Strategy<Value = String> {
        let known = || prop::sample::select(Parameter::TABLE.map(|(_, name, ..)| name).to_vec());
        let encoded = |name: &str| name.replacen('e', "%65", 1);
        prop_oneof![6 => known().prop_map(str::to_owned), 1 => known().prop_map(encoded), 1 => "[a-z=&%+]{0,5}"]
    }

    proptest! {
        #[test]
        fn a_query_reads_as_a_library_decodes_it(
            pairs in prop::collection::vec((name(), "([ -~]|[é통\u{fffd}]|%[0-9a-fA-F]{2}|\\+){0,8}"), 0..30),
            is_usual in any::<bool>(),
            broken in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if is_usual {
                let place = |pair: &String| {
                    let is_of = |usual: &Parameter| pair.split_once('=').map(|pair| pair.0) == Some(usual.name());
                    Parameter::USUAL_ORDER.iter().position(is_of)
                };
                pairs.sort_by_key(place);
            }
            let mut query = pairs.join("&").into_bytes();
            if let (Some(at), false) = (broken, query.is_empty()) {
                let at = at.index(query.len());
                query[at] = 0xff;
            }
            let (mut values, mut anomalies) = (Values::default(), Anomalies::default());
            values.decode(&query, &mut anomalies).expect("a form");
            let read = Parameter::TABLE.iter().filter_map(|(parameter, name, ..)| Some((*name, values.text(*parameter)?.to_owned())));
            let odd = [Anomaly::UnknownParameter, Anomaly::RepeatedParameter, Anomaly::NotUtf8];
            prop_assert_eq!((read.collect(), odd.map(|anomaly| anomalies.contains(anomaly))), expected(&query));
        }
    }

    #[test]
    fn every_parameter_has_its_place_in_the_usual_order() {
        for (parameter, ..) in Parameter::TABLE {
            assert_eq!(Parameter::USUAL_ORDER.iter().filter(|usual| **usual == parameter).count(), 1);
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_discriminants() {
        for (at, (parameter, name, ..)) in Parameter::TABLE.into_iter().enumerate() {
            assert_eq!(parameter as usize, at);
            assert_eq!(Parameter::from_name(name), Some(parameter));
        }
    }
}
