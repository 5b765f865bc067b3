//! The query parameters of the 1-to-1 call event callback, and how a query string is taken apart into them.
//!
//! Source: LINE Planet's documentation of the 1-to-1 call event callback.

use std::borrow::Cow;

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

    pub(super) fn from_name(name: &str) -> Option<Parameter> {
        Parameter::TABLE.iter().find(|(_, known, _, _)| *known == name).map(|(parameter, ..)| *parameter)
    }
}

/// The decoded values of a query string, one for each parameter that was there and not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Values<'q>([Option<Cow<'q, str>>; Parameter::COUNT]);

#[derive(Deserialize)]
struct Pair<'q>(#[serde(borrow)] Cow<'q, str>, #[serde(borrow)] Cow<'q, str>);

impl<'q> Values<'q> {
    /// Takes a query string apart. Of a repeated parameter the first value counts.
    pub(super) fn decode(
        query: &'q [u8],
        anomalies: &mut Anomalies,
    ) -> Result<Values<'q>, serde_urlencoded::de::Error> {
        let mut collected = Collected::default();
        match plain(query) {
            // Where nothing is encoded, the form is taken apart in place: decoding it byte by byte is most of the work of a
            // request.
            Some(text) => {
                for pair in text.split('&').filter(|pair| !pair.is_empty()) {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    collected.add(name, Cow::Borrowed(value), anomalies);
                }
            }
            None => {
                let pairs: Vec<Pair<'q>> = serde_urlencoded::from_bytes(query)?;
                for Pair(name, value) in pairs {
                    collected.add(&name, value, anomalies);
                }
            }
        }
        let is_older = [Parameter::CallEndReason, Parameter::Releaser]
            .into_iter()
            .any(|parameter| collected.values[parameter as usize].is_some());
        for (parameter, _, _, nullable) in Parameter::TABLE {
            let may_be_missing = nullable || is_older && parameter.is_newer();
            if !may_be_missing && collected.values[parameter as usize].is_none() {
                anomalies.insert(Anomaly::MissingParameter);
            }
        }
        Ok(Values(collected.values))
    }

    pub(super) fn text(&self, parameter: Parameter) -> Option<&str> {
        self.0[parameter as usize].as_deref()
    }

    /// The parameter as a number, with or without spaces around it, or `None` if it is missing or no decimal number.
    pub(super) fn number(&self, parameter: Parameter) -> Option<i64> {
        self.text(parameter)?.trim_ascii().parse().ok()
    }
}

/// The query as text if it is its own decoding: ASCII without percent-encoding and without `+`.
fn plain(query: &[u8]) -> Option<&str> {
    let is_plain = query.iter().all(|byte| byte.is_ascii() && !matches!(byte, b'%' | b'+'));
    str::from_utf8(query).ok().filter(|_| is_plain)
}

/// The values so far.
#[derive(Default)]
struct Collected<'q> {
    values: [Option<Cow<'q, str>>; Parameter::COUNT],
    seen: [bool; Parameter::COUNT],
}

impl<'q> Collected<'q> {
    fn add(&mut self, name: &str, value: Cow<'q, str>, anomalies: &mut Anomalies) {
        let Some(parameter) = Parameter::from_name(name) else {
            return anomalies.insert(Anomaly::UnknownParameter);
        };
        if std::mem::replace(&mut self.seen[parameter as usize], true) {
            return anomalies.insert(Anomaly::RepeatedParameter);
        }
        if value.contains(char::REPLACEMENT_CHARACTER) {
            anomalies.insert(Anomaly::NotUtf8);
        }
        if !value.is_empty() {
            self.values[parameter as usize] = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a query holds, however it is taken apart.
    fn decoded(query: &str) -> (Values<'_>, Anomalies) {
        let mut anomalies = Anomalies::default();
        let values = Values::decode(query.as_bytes(), &mut anomalies).expect("a form");
        (values, anomalies)
    }

    proptest! {
        /// A query that is taken apart in place reads as one that is decoded: an encoded `=` in the name of a parameter that
        /// does not exist, put in front, sends it the other way.
        #[test]
        fn both_ways_of_taking_a_query_apart_read_the_same(
            pairs in prop::collection::vec(
                (prop_oneof![4 => prop::sample::select(Parameter::TABLE.map(|(_, name, ..)| name).to_vec()).prop_map(str::to_owned), 1 => "[a-z=&]{0,5}"], "[ -$&-*,-~]{0,8}"),
                0..30,
            )
        ) {
            let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let query = format!("x=1&{}", query.join("&"));
            prop_assert!(plain(query.as_bytes()).is_some());
            let encoded = format!("%78=1&{}", &query[4..]);
            prop_assert!(plain(encoded.as_bytes()).is_none());
            prop_assert_eq!(decoded(&query), decoded(&encoded));
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
