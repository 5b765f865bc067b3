//! The variables that the process was started with, and which of them nobody reads.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::CommandFactory;

use super::Config;
use super::remark::Remark;

/// The variables that are set. An empty one is an unset one.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Environment {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Environment(variables.filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl Environment {
    /// That of this process. What is not UTF-8 in it is replaced.
    pub fn of_process() -> Environment {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names that begin with `prefix`, without those by which Kubernetes tells pods where services are.
    pub fn names(&self, prefix: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        named.filter(|(name, value)| !is_service_link(name, value)).map(|(name, _)| name.as_str())
    }
}

/// Whether Kubernetes sets this variable for a service: `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT`,
/// `NAME_SERVICE_PORT_PORTNAME`, and the links of Docker, `NAME_PORT` and `NAME_PORT_9464_TCP`, with `_PROTO`, `_PORT`
/// or `_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_port_of_link = |link: &str| {
        let mut words = link.split('_');
        let number = words.next().unwrap_or_default();
        let is_protocol = words.next().is_some_and(|word| PROTOCOLS.contains(&word));
        let is_part = matches!(words.next(), None | Some("PROTO" | "PORT" | "ADDR"));
        number.parse::<u16>().is_ok() && is_protocol && is_part && words.next().is_none()
    };
    let is_url = || {
        let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_ascii_uppercase());
        scheme.is_some_and(|scheme| PROTOCOLS.contains(&scheme.as_str()))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT") && is_url()
        || name.match_indices("_PORT_").any(|(at, word)| is_port_of_link(&name[at + word.len()..]))
}

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// What begins with `PLANET_` and is no variable of a flag.
pub fn unknown(environment: &Environment) -> Vec<Remark> {
    let flags = Config::command();
    let known: Vec<&str> =
        flags.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    let unknown = environment.names(PREFIX).filter(|name| !known.contains(name));
    let remark = |name: &str| Remark::Unknown {
        variable: name.to_owned(),
        nearest: nearest(name, PREFIX, known.iter().copied()),
    };
    unknown.map(remark).collect()
}

const PREFIX: &str = "PLANET_";

/// The name that was probably meant, of those that are known. All begin with `prefix`, which would make them alike.
pub(super) fn nearest<'a>(
    name: &str,
    prefix: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let own = |name: &'a str| name.strip_prefix(prefix).unwrap_or(name);
    let likeness = |candidate| strsim::jaro(name.strip_prefix(prefix).unwrap_or(name), own(candidate));
    let candidates = known.into_iter().map(|candidate| (likeness(candidate), candidate));
    let alike = candidates.filter(|(likeness, _)| *likeness > LEAST_LIKENESS);
    alike.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, candidate)| candidate.to_owned())
}

/// Names that are less alike than this are different ones and no slips.
const LEAST_LIKENESS: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_says_of_services_is_nobodys_slip() {
        for (name, value) in [
            ("PLANET_CALL_EXPORTER_SERVICE_HOST", "10.0.0.1"),
            ("PLANET_CALL_EXPORTER_SERVICE_PORT", "9464"),
            ("PLANET_CALL_EXPORTER_SERVICE_PORT_CALL_EVENTS", "20200"),
            ("PLANET_CALL_EXPORTER_PORT", "tcp://10.0.0.1:9464"),
            ("PLANET_X_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
            ("PLANET_X_PORT_9464_TCP_ADDR", "10.0.0.1"),
            ("PLANET_X_PORT_53_UDP_PROTO", "udp"),
            ("PLANET_PORT_X_PORT_53_SCTP_PORT", "53"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        for (name, value) in [
            ("PLANET_PORT", "9464"),
            ("PLANET_LISTEN_PORT", "http://10.0.0.1"),
            ("PLANET_X_PORT_9464", "1"),
            ("PLANET_X_PORT_A_TCP", "1"),
            ("PLANET_X_PORT_1_TCP_NAME", "1"),
        ] {
            assert!(!is_service_link(name, value), "{name}");
        }
    }

    #[test]
    fn a_slip_is_told_with_what_was_meant_and_without_its_value() {
        let environment: Environment =
            [("PLANET_IDC", "secret"), ("PLANET_LISTEN", "secret"), ("PLANET_STATE_DIRECTORY", "")]
                .into_iter()
                .collect();
        let remarks = unknown(&environment);
        let meant = Remark::Unknown { variable: "PLANET_IDC".into(), nearest: Some("PLANET_IDCS".into()) };
        assert_eq!(remarks, [meant]);
        assert!(!remarks[0].to_string().contains("secret"));
    }

    #[test]
    fn names_that_have_little_in_common_are_not_taken_for_each_other() {
        let known = ["PLANET_STATE_DIR", "PLANET_FORWARD_TO", "PLANET_LISTEN"];
        let nearest = |name| nearest(name, PREFIX, known);
        assert_eq!(nearest("PLANET_STATEDIR").as_deref(), Some("PLANET_STATE_DIR"));
        assert_eq!(nearest("PLANET_FORWARD_URL").as_deref(), Some("PLANET_FORWARD_TO"));
        assert_eq!(nearest("PLANET_API_SECRET"), None);
    }
}
