//! Call events as LINE Planet's servers send them, and as they should not.

use std::fmt::Write;

/// The query of the sample in LINE Planet's documentation, character by character.
pub const DOCUMENTED_SAMPLE: &str = "sid=6364e8b3-bdac-436e-9631-0bce2498ce0c&type=V&from_user_id=9286\
    &from_service_id=caller-service-id&to_user_id=2809&to_service_id=callee-service-id&setup_time=1582527400\
    &start_time=1582527404&end_time=1582527434&duration=30&terminate=16&srcip=1.2.3.4&dstip=1.2.3.5&stid=voip.next\
    &rel_code=1&rel_code_str=NORMAL&billing_sec=25&rc_idc=KR&disconnect_reason=1001&releaser_type=1\
    &app_svr_data=appSvrData";

/// A session ID of its own for each number.
pub fn sid(number: usize) -> String {
    format!("{number:08x}-bdac-436e-9631-0bce2498ce0c")
}

/// The query of a call event: the documented sample with another sid and changed parameters.
#[derive(Debug, Clone)]
pub struct CallEventQuery(Vec<(String, String)>);

impl CallEventQuery {
    /// The documented sample with the sid of this number.
    pub fn new(number: usize) -> CallEventQuery {
        let pairs = DOCUMENTED_SAMPLE.split('&').filter_map(|pair| pair.split_once('='));
        let sample = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        CallEventQuery(sample).with("sid", &sid(number))
    }

    /// Sets a parameter, whose value is any text; adds it if it is not there.
    pub fn with(mut self, name: &str, value: &str) -> CallEventQuery {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Leaves a parameter out.
    pub fn without(mut self, name: &str) -> CallEventQuery {
        self.0.retain(|(known, _)| known != name);
        self
    }

    /// The query string, percent-encoded.
    pub fn encode(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={}", percent_encode(value.as_bytes())));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// Percent-encodes everything but ASCII letters and digits.
pub fn percent_encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte.is_ascii_alphanumeric() {
            true => text.push(char::from(*byte)),
            false => write!(text, "%{byte:02X}").expect("text"),
        }
    }
    text
}
