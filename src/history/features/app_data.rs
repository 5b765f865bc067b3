//! What is told of `app_svr_data`, which may be anything: its form, the names of its parts if it is JSON or a form, and
//! the values of those whose name says that they are of an app or a device.

use serde_json::Value;

use super::Aspect;
use crate::callback::CallEvent;
use crate::callback::call_event::Parameter;

/// Parts of `app_svr_data` that are looked at, how deep in it, and the longest text that is taken apart, in bytes: the
/// documented one.
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

/// Tells `note` what there is to tell, with values up to `longest` bytes.
pub(super) fn each(event: &CallEvent<'_>, longest: usize, note: &mut impl FnMut(Aspect, &str)) {
    // The same data in either.
    let Some(data) = event.text(Parameter::AppSvrData).or(event.text(Parameter::Stid)) else {
        return note(Aspect::AppForm, "not sent");
    };
    if data.len() > LONGEST_APP_DATA {
        return note(Aspect::AppForm, "long");
    }
    let mut parts = Parts { names: Vec::new(), longest, note };
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
    /// The longest value, in bytes.
    longest: usize,
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
            && (1..=self.longest).contains(&value.len())
            && value.bytes().all(is_usual)
        {
            (self.note)(Aspect::AppValue, &format!("{name}={value}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;
    use crate::history::past_of_tests::at;

    /// What is told of it.
    fn of_app(data: &str) -> Vec<(Aspect, String)> {
        let data = utf8_percent_encode(data, NON_ALPHANUMERIC);
        let query = format!("sid=1&duration=1&app_svr_data={data}");
        let event = CallEvent::read(query.as_bytes(), at(0)).expect("a call");
        let mut told = Vec::new();
        each(&event, 64, &mut |aspect, value| told.push((aspect, value.to_owned())));
        told
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
}
