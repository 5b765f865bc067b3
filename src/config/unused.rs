//! Settings that were given and have no effect, since another one is missing or stands against them.

use std::fmt;

use super::otlp::{OtlpSettings, Push, WhyOff};
use super::{CallLog, Config, ForwardMode, IdentityMode, ProxyProtocol};

/// A setting that was given and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// What gave it: a flag or a variable.
    pub given_by: String,
    /// Why it has none.
    pub reason: &'static str,
}

impl fmt::Display for Unused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} has no effect: {}", self.given_by, self.reason)
    }
}

/// Every setting that was given and has no effect, in the order of the flags.
pub fn unused(config: &Config, otlp: &OtlpSettings) -> Vec<Unused> {
    let find = |(flag, obstacles): &(&str, &[Obstacle])| {
        let given_by = config.given.by(flag)?.to_owned();
        let obstacle = obstacles.iter().find(|obstacle| (obstacle.is_there)(config, otlp))?;
        Some(Unused { given_by, reason: obstacle.reason })
    };
    NEEDS.iter().filter_map(find).collect()
}

/// Something that takes the effect of a setting away.
struct Obstacle {
    is_there: fn(&Config, &OtlpSettings) -> bool,
    reason: &'static str,
}

const NO_SERVICE: Obstacle = Obstacle {
    is_there: |config, _| config.forward_to.is_none(),
    reason: "there is no service behind without --forward-to",
};

const INLINE: Obstacle = Obstacle {
    is_there: |config, _| config.forward_mode == ForwardMode::Inline,
    reason: "with --forward-mode inline the exporter passes call events on at once and does not retry them",
};

const GIVEN_UP_BEFORE: Obstacle = Obstacle {
    is_there: |config, _| config.forward_max_age >= config.state_max_age,
    reason: "the exporter gives up any event at --state-max-age, which is not longer",
};

const IN_MEMORY: Obstacle = Obstacle {
    is_there: |config, _| config.state_dir.is_none(),
    reason: "nothing is on disk without --state-dir",
};

const ON_DISK: Obstacle = Obstacle {
    is_there: |config, _| config.state_dir.is_some(),
    reason: "with --state-dir events wait on disk, within --state-max-bytes",
};

const NOTHING_WAITS: Obstacle = Obstacle {
    is_there: |config, otlp| {
        let is_stored = config.forward_to.is_some() && config.forward_mode == ForwardMode::Stored;
        config.state_dir.is_none() && !is_stored && !has_identities(config, otlp)
    },
    reason: "nothing waits for delivery: spans and the call log are off, and no service behind gets call events from the \
             journal",
};

const NO_IDENTITIES: Obstacle = Obstacle {
    is_there: |config, otlp| !has_identities(config, otlp),
    reason: "it only affects spans and the call log, which are off",
};

const NO_HASH: Obstacle = Obstacle {
    is_there: |config, _| config.identity != IdentityMode::Hash,
    reason: "only --identity hash needs a key",
};

const NOTHING_KEPT: Obstacle = Obstacle {
    is_there: |config, _| config.state_dir.is_none() && config.refused_max == 0,
    reason: "with --refused-max 0 and without --state-dir no refused request is kept",
};

const CREDENTIALS: Obstacle = Obstacle {
    is_there: |config, _| config.admin_bearer_token_file.is_some(),
    reason: "with --admin-bearer-token-file nobody gets anything without credentials",
};

const NO_CLIENTS: Obstacle = Obstacle {
    is_there: |config, _| {
        let asks_for_clients = !config.allow_from.is_empty() || config.max_rate.is_some();
        config.proxy_protocol == ProxyProtocol::Off && !asks_for_clients
    },
    reason: "nobody asks for the addresses of clients without --proxy-protocol required, --allow-from or --max-rate",
};

const NO_SPANS: Obstacle = Obstacle {
    is_there: |_, otlp| otlp.traces.destination().is_none(),
    reason: "no call has a trace, since spans are off",
};

const NOTHING_PUSHED: Obstacle = Obstacle {
    is_there: |config, otlp| config.call_log == CallLog::Otlp && otlp.logs == Push::Off(WhyOff::Disabled),
    reason: "no log is pushed, since OTEL_SDK_DISABLED is true",
};

const NO_LOGS: Obstacle = Obstacle {
    is_there: |config, otlp| config.call_log == CallLog::Otlp && otlp.logs == Push::Off(WhyOff::Exporter),
    reason: "no log is pushed, since OTEL_LOGS_EXPORTER is none; unset that variable, or set this to off or stdout",
};

const NO_CANARY: Obstacle = Obstacle {
    is_there: |config, _| config.canary_url.is_none(),
    reason: "no canary is sent without --canary-url",
};

/// Whether anything is on that could carry identities.
fn has_identities(config: &Config, otlp: &OtlpSettings) -> bool {
    let is_pushed = |push: &Push| push.destination().is_some();
    is_pushed(&otlp.traces) || is_pushed(&otlp.logs) || config.call_log == CallLog::Stdout
}

/// Every flag with what takes its effect away.
const NEEDS: [(&str, &[Obstacle]); 57] = [
    ("listen", &[]),
    ("call-event-path", &[]),
    ("call-event-secret-file", &[]),
    ("probe-status", &[]),
    ("readiness-path", &[]),
    ("canary-url", &[]),
    ("canary-interval", &[NO_CANARY]),
    ("admin-listen", &[]),
    ("admin-web-config-file", &[]),
    ("admin-bearer-token-file", &[]),
    ("admin-trust-loopback", &[CREDENTIALS]),
    ("admin-quit", &[]),
    ("state-dir", &[]),
    ("state-ephemeral", &[IN_MEMORY]),
    ("state-lock-wait", &[IN_MEMORY]),
    ("state-max-bytes", &[IN_MEMORY]),
    ("state-max-age", &[NOTHING_WAITS]),
    ("segment-age", &[IN_MEMORY]),
    ("identity", &[NO_IDENTITIES]),
    ("identity-key-file", &[NO_HASH, NO_IDENTITIES]),
    ("idcs", &[]),
    ("services", &[]),
    ("longest-call", &[]),
    // Another obstacle, the buckets that a state directory has already, is known only when that is open.
    ("duration-buckets", &[]),
    ("setup-buckets", &[]),
    ("max-series", &[]),
    ("series-zero-for", &[]),
    ("created-series", &[]),
    ("seen-max", &[]),
    ("seen-age", &[]),
    ("refused-max", &[]),
    ("refused-age", &[NOTHING_KEPT]),
    ("backlog-max-bytes", &[ON_DISK, NOTHING_WAITS]),
    ("forward-to", &[]),
    ("forward-mode", &[NO_SERVICE]),
    ("forward-timeout", &[NO_SERVICE]),
    ("forward-concurrency", &[NO_SERVICE, INLINE]),
    ("forward-max-age", &[NO_SERVICE, INLINE, GIVEN_UP_BEFORE]),
    ("max-connections", &[]),
    ("max-connections-per-peer", &[]),
    ("max-uri-bytes", &[]),
    ("allow-from", &[]),
    ("max-rate", &[]),
    ("trusted-proxies", &[NO_CLIENTS]),
    ("proxy-protocol", &[]),
    ("tls-cert-file", &[]),
    ("tls-key-file", &[]),
    ("tls-client-ca-file", &[]),
    ("header-timeout", &[]),
    ("idle-timeout", &[]),
    ("worker-threads", &[]),
    ("drain-time", &[]),
    ("shutdown-timeout", &[]),
    ("call-log", &[NOTHING_PUSHED, NO_LOGS]),
    ("trace-url", &[NO_SPANS]),
    ("log-format", &[]),
    ("log-level", &[]),
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::CommandLine;
    use crate::config::otlp::Flags;

    const TRACES: &str = "http://127.0.0.1:4318/v1/traces";

    /// What is said of these arguments, with spans on or off.
    fn said(arguments: &str, has_spans: bool) -> Vec<String> {
        let endpoint = has_spans.then_some(("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", TRACES));
        said_beside(arguments, endpoint)
    }

    /// What is said of these arguments beside a variable.
    fn said_beside(arguments: &str, variable: Option<(&str, &str)>) -> Vec<String> {
        let arguments = ["planet-call-exporter"].into_iter().chain(arguments.split_whitespace());
        let config = CommandLine::read_from(arguments).expect("a configuration").config;
        let otlp = OtlpSettings::read(&variable.into_iter().collect(), Flags::of(&config));
        unused(&config, &otlp).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_flag_is_in_the_table_in_its_order() {
        let command = Config::command();
        let flags = command.get_arguments().filter(|argument| argument.get_env().is_some());
        let flags: Vec<_> = flags.filter_map(|argument| argument.get_long()).collect();
        assert_eq!(NEEDS.map(|(flag, _)| flag).to_vec(), flags);
    }

    /// For each flag with an obstacle: what it is given, what stands against it, and what helps.
    const OBSTACLES: &[(&str, &str, &str)] = &[
        ("--canary-interval 30s", "", "--canary-url http://a/call_event"),
        ("--state-ephemeral true", "", "--state-dir /x"),
        ("--state-lock-wait 1s", "", "--state-dir /x"),
        ("--state-max-bytes 2MiB", "", "--state-dir /x"),
        ("--segment-age 1h", "", "--state-dir /x"),
        ("--state-max-age 1h", "", "--state-dir /x"),
        ("--state-max-age 1h", "", "--call-log stdout"),
        ("--state-max-age 1h", "", "--forward-to http://a"),
        ("--identity keep", "", "--call-log stdout"),
        ("--identity-key-file /x", "--call-log stdout", "--call-log stdout --identity hash"),
        ("--refused-age 1h", "--refused-max 0", "--refused-max 0 --state-dir /x"),
        ("--refused-age 1h", "--refused-max 0", ""),
        ("--backlog-max-bytes 1MiB", "--call-log stdout --state-dir /x", "--call-log stdout"),
        ("--backlog-max-bytes 1MiB", "", "--forward-to http://a"),
        ("--backlog-max-bytes 1MiB", "--forward-mode inline --forward-to http://a", "--forward-to http://a"),
        ("--forward-mode inline", "", "--forward-to http://a"),
        ("--forward-timeout 1s", "", "--forward-to http://a"),
        ("--forward-concurrency 1", "", "--forward-to http://a"),
        ("--forward-concurrency 1", "--forward-mode inline --forward-to http://a", "--forward-to http://a"),
        ("--forward-max-age 1h", "", "--forward-to http://a"),
        ("--forward-max-age 1h", "--forward-mode inline --forward-to http://a", "--forward-to http://a"),
        (
            "--forward-max-age 1h",
            "--state-max-age 1h --forward-to http://a",
            "--state-max-age 2h --forward-to http://a",
        ),
        ("--trusted-proxies ::1", "", "--proxy-protocol required"),
        ("--admin-trust-loopback never", "--admin-bearer-token-file /x", ""),
        ("--trusted-proxies ::1", "", "--allow-from ::1"),
        ("--trusted-proxies ::1", "", "--max-rate 100"),
    ];

    #[test]
    fn a_flag_without_effect_is_named_with_the_reason_and_one_with_effect_is_not() {
        for (given, against, helps) in OBSTACLES {
            let flag = given.split(' ').next().unwrap_or_default();
            let of_flag = |others: &str| {
                let mut said = said(&format!("{given} {others}"), false);
                said.retain(|line| line.starts_with(&format!("{flag} has no effect: ")));
                said
            };
            assert_eq!(of_flag(against).len(), 1, "{given} {against}");
            assert_eq!(of_flag(helps), Vec::<String>::new(), "{given} {helps}");
        }
        for (flag, obstacles) in NEEDS {
            // What variables take away has tests of its own.
            let has_case = ["trace-url", "call-log"].contains(&flag)
                || OBSTACLES.iter().any(|(given, _, _)| given.starts_with(&format!("--{flag} ")));
            assert_eq!(has_case, !obstacles.is_empty(), "{flag} has its cases");
        }
        assert_eq!(said("", false), Vec::<String>::new(), "defaults were not given");
    }

    #[test]
    fn logs_that_variables_turn_off_are_none_and_carry_nothing() {
        let arguments = "--call-log otlp --identity keep --backlog-max-bytes 1MiB";
        assert_eq!(said_beside(arguments, None), Vec::<String>::new());
        for (variable, reason) in [
            (("OTEL_LOGS_EXPORTER", "none"), "OTEL_LOGS_EXPORTER is none"),
            (("OTEL_SDK_DISABLED", "true"), "OTEL_SDK_DISABLED is true"),
        ] {
            let said = said_beside(arguments, Some(variable));
            let [identity, backlog, call_log] = &said[..] else { panic!("{said:?}") };
            assert!(identity.starts_with("--identity") && backlog.starts_with("--backlog-max-bytes"));
            assert!(
                call_log.starts_with("--call-log has no effect: ") && call_log.contains(reason),
                "{call_log}"
            );
            for other in ["--call-log stdout", "--call-log off"] {
                assert_eq!(said_beside(other, Some(variable)), Vec::<String>::new(), "{other}");
            }
        }
    }

    #[test]
    fn spans_carry_identities_and_wait() {
        let arguments = "--identity hash --identity-key-file /x --backlog-max-bytes 1MiB --state-max-age 1h \
                         --trace-url https://t/{trace_id}";
        assert_eq!(said(arguments, true), Vec::<String>::new());
        let flags =
            ["--state-max-age", "--identity", "--identity-key-file", "--backlog-max-bytes", "--trace-url"];
        let named: Vec<_> = said(arguments, false)
            .iter()
            .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
            .collect();
        assert_eq!(named, flags);
    }
}
