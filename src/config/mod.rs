//! Flags and environment, validated, in one place.
//!
//! Every flag has an environment variable: `PLANET_` and its name in capitals; an empty one is an unset one. OTLP follows the `OTEL_*`
//! variables of the OpenTelemetry specification instead ([`otlp`]). What is set and has no effect is known as such ([`unused`]).

pub mod call_filter;
pub mod callback_url;
pub mod canary_url;
mod contradiction;
pub mod environment;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod given;
pub mod otlp;
pub mod path;
pub mod remark;
pub mod routes;
pub mod unused;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use self::call_filter::CallFilter;
use self::callback_url::CallbackUrl;
use self::canary_url::CanaryUrl;
pub use self::contradiction::Contradiction;
use self::given::Given;
use self::routes::{ProbeStatus, plain_path, registered_path};
use self::values::{
    bytes, canary_interval, duration, idc, log_level, longest_call, network, number, positive, service,
    state_bytes, uri_bytes,
};
use crate::http::ListenAddress;
use crate::http::service::ServiceUrl;
use crate::ledger::Buckets;

/// Telemetry sidecar for LINE Planet: turns call events into Prometheus metrics, OTLP metrics and spans.
#[derive(Debug, Clone, Parser)]
#[command(version, after_help = OTLP_HELP, next_line_help = true, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    /// How to run the exporter, if no other command is given.
    #[command(flatten)]
    pub config: Config,

    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do beside running.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Show what is in a state directory, and the totals as of now. It reads only, and may be used while an exporter runs.
    State {
        /// The state directory.
        directory: PathBuf,
        /// Exit with 1 if a checksum does not fit. All are looked at in any case.
        #[arg(long, conflicts_with_all = ["calls", "sid", "reason", "idc", "since"])]
        verify: bool,
        /// Show the calls that the journal holds instead, one line of JSON each as in the call log, without users and
        /// addresses.
        #[arg(long)]
        calls: bool,
        /// Which calls are shown.
        #[command(flatten)]
        filter: CallFilter,
    },
    /// Say what the exporter would do with these flags and variables, where each comes from, and whether it would run. Nothing is
    /// changed. Exit with 1 if it would not, or not do what it is asked for.
    Check {
        /// What it would run with.
        #[command(flatten)]
        config: Box<Config>,
        /// Connect to the collector, with an empty push, and to the service behind as well.
        #[arg(long)]
        connect: bool,
    },
    /// Send recorded requests again: those of a refused.jsonl, or the call events of a segment of the journal.
    Replay {
        /// The file.
        file: PathBuf,
        /// The URL of the call event callback, with its query if it was registered with one, such as
        /// http://127.0.0.1:20200/call_event.
        #[arg(long, value_name = "URL")]
        to: CallbackUrl,
    },
}

/// How to run the exporter.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Config {
    /// Where call events come in: a port on every address of both families (:20200), an IP address and a port, or a name of this
    /// host and a port, which is every address that the name has. 0.0.0.0 is IPv4 alone.
    #[arg(long, env = "PLANET_LISTEN", value_name = "ADDRESS", default_value = ":20200")]
    pub listen: ListenAddress,

    /// Path of the call event callback as registered with LINE Planet, with the query that it was registered with, if any.
    #[arg(long, env = "PLANET_CALL_EVENT_PATH", value_name = "PATH", default_value = "/call_event",
          value_parser = registered_path)]
    pub call_event_path: String,

    /// What a request to the callback without any parameter is answered, such as a test of the registration: 200 counts it as
    /// a probe, 400 refuses it like any other that cannot be a call event.
    #[arg(long, env = "PLANET_PROBE_STATUS", value_enum, default_value_t = ProbeStatus::Ok)]
    pub probe_status: ProbeStatus,

    /// Path on the port of call events that answers whether they can be taken, as /readyz does, whether or not a service is
    /// behind [default: none; /readyz if no service is behind].
    #[arg(long, env = "PLANET_READINESS_PATH", value_name = "PATH", value_parser = plain_path)]
    pub readiness_path: Option<String>,

    /// Public URL of the call event callback, as registered with LINE Planet: the exporter sends itself a request through it, which is
    /// no call, and counts whether it arrives [default: none, nothing is sent].
    #[arg(long, env = "PLANET_CANARY_URL", value_name = "URL", hide_env_values = true)]
    pub canary_url: Option<CanaryUrl>,

    /// Time from one such request to the next.
    #[arg(long, env = "PLANET_CANARY_INTERVAL", value_name = "DURATION", default_value = "60s", value_parser = canary_interval)]
    pub canary_interval: Duration,

    /// Where /metrics, /livez, /readyz and the landing page are, as with --listen. 9464 is also the default of OpenTelemetry SDKs'
    /// Prometheus exporters: in one pod one of the two needs another port.
    #[arg(long, env = "PLANET_ADMIN_LISTEN", value_name = "ADDRESS", default_value = ":9464")]
    pub admin_listen: ListenAddress,

    /// Directory that keeps totals, session IDs and what waits for delivery across crashes and restarts [default: none,
    /// everything is in memory].
    #[arg(long, env = "PLANET_STATE_DIR", value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,

    /// Bytes that the journal in the state directory may take; beyond them the oldest events that still wait for delivery
    /// are dropped, and their session IDs are not known after a restart.
    #[arg(long, env = "PLANET_STATE_MAX_BYTES", value_name = "BYTES", default_value = "1GiB", value_parser = state_bytes)]
    pub state_max_bytes: ByteSize,

    /// Age past which an event that a sink could not deliver is given up.
    #[arg(long, env = "PLANET_STATE_MAX_AGE", value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub state_max_age: Duration,

    /// Age at which a segment of the journal is closed, full or not. It is removed as a whole when every sink is past it and its
    /// last session ID is forgotten, so that user IDs stay on disk this much longer than session IDs are remembered.
    #[arg(long, env = "PLANET_SEGMENT_AGE", value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub segment_age: Duration,

    /// What spans and the call log carry of user IDs and IP addresses.
    #[arg(long, env = "PLANET_IDENTITY", value_enum, default_value_t = IdentityMode::Drop)]
    pub identity: IdentityMode,

    /// File with the key of --identity hash: at least 16 bytes, of which a final line break is not part.
    #[arg(long, env = "PLANET_IDENTITY_KEY_FILE", value_name = "FILE", required_if_eq("identity", "hash"))]
    pub identity_key_file: Option<PathBuf>,

    /// IDCs to expect, such as KR,JP: their usual series exist at 0 from the start. One that is no assigned code of ISO 3166-1
    /// has a label of its own only if it is here.
    #[arg(long, env = "PLANET_IDCS", value_name = "IDC,...", value_delimiter = ',', value_parser = idc)]
    pub idcs: Vec<String>,

    /// Services that the call metrics tell apart by a label, service: the value of from_service_id if it is here, else "other".
    #[arg(long, env = "PLANET_SERVICES", value_name = "SERVICE,...", value_delimiter = ',', value_parser = service)]
    pub services: Vec<String>,

    /// The longest duration, billed time and setup time of a call that is plausible; longer ones count as this long, and as an
    /// anomaly.
    #[arg(long, env = "PLANET_LONGEST_CALL", value_name = "DURATION", default_value = "24h", value_parser = longest_call)]
    pub longest_call: Duration,

    /// Upper bounds of the buckets of planet_call_duration_seconds, in seconds.
    #[arg(
        long,
        env = "PLANET_DURATION_BUCKETS",
        value_name = "SECONDS,...",
        default_value = "1,5,10,30,60,120,180,300,600,900,1800,3600,7200,14400"
    )]
    pub duration_buckets: Buckets,

    /// Upper bounds of the buckets of planet_call_setup_duration_seconds, in seconds.
    #[arg(
        long,
        env = "PLANET_SETUP_BUCKETS",
        value_name = "SECONDS,...",
        default_value = "1,2,3,4,5,7,10,15,20,30,45,60,90,120"
    )]
    pub setup_buckets: Buckets,

    /// Label sets of planet_calls_total; past them the IDC and the disconnect reason of new ones are "other".
    #[arg(long, env = "PLANET_MAX_SERIES", value_name = "NUMBER", default_value = "10000", value_parser = positive)]
    pub max_series: usize,

    /// Age up to which a series is shown at 0 to a Prometheus or an OTLP receiver that is not known yet; what is older is shown at its
    /// value, since old totals after a 0 would count as new calls.
    #[arg(long, env = "PLANET_SERIES_ZERO_FOR", value_name = "DURATION", default_value = "5m",
          value_parser = humantime::parse_duration)]
    pub series_zero_for: Duration,

    /// Show in OpenMetrics when each series was born, as a sample that ends in _created. Prometheus makes a series of its own of each.
    #[arg(long, env = "PLANET_CREATED_SERIES", value_name = "BOOLEAN", default_value_t = false, action = ArgAction::Set)]
    pub created_series: bool,

    /// Session IDs that are remembered, to recognize a repeated call event. Each takes 60 to 150 bytes of memory.
    #[arg(long, env = "PLANET_SEEN_MAX", value_name = "NUMBER", default_value = "500000", value_parser = positive)]
    pub seen_max: usize,

    /// How long a session ID is remembered.
    #[arg(long, env = "PLANET_SEEN_AGE", value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub seen_age: Duration,

    /// Refused requests that are kept in memory, to be looked at on the admin port at /refused from the same host.
    #[arg(long, env = "PLANET_REFUSED_MAX", value_name = "NUMBER", default_value = "200", value_parser = number)]
    pub refused_max: usize,

    /// How long a refused request is kept, in memory and in the state directory, and an event on which the exporter failed.
    #[arg(long, env = "PLANET_REFUSED_AGE", value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub refused_age: Duration,

    /// Without a state directory: what may wait in memory for spans, the call log and the service behind; beyond it the oldest is dropped.
    #[arg(long, env = "PLANET_BACKLOG_MAX_BYTES", value_name = "BYTES", default_value = "64MiB", value_parser = bytes)]
    pub backlog_max_bytes: ByteSize,

    /// Base URL of the service behind, such as http://127.0.0.1:8080: it gets its call events and everything else that
    /// arrives [default: none, the exporter answers everything itself].
    #[arg(long, env = "PLANET_FORWARD_TO", value_name = "URL", hide_env_values = true)]
    pub forward_to: Option<ServiceUrl>,

    /// How the service behind gets call events.
    #[arg(long, env = "PLANET_FORWARD_MODE", value_enum, default_value_t = ForwardMode::Stored)]
    pub forward_mode: ForwardMode,

    /// Time that the service behind has for a connection, for its answer, and for every further part of it.
    #[arg(long, env = "PLANET_FORWARD_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub forward_timeout: Duration,

    /// Call events that are on their way to the service behind at once; up to four times as many while it leaves some unanswered.
    #[arg(long, env = "PLANET_FORWARD_CONCURRENCY", value_name = "NUMBER", default_value = "16", value_parser = positive)]
    pub forward_concurrency: usize,

    /// Age past which a call event that the service behind did not take is not tried again.
    #[arg(long, env = "PLANET_FORWARD_MAX_AGE", value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub forward_max_age: Duration,

    /// Open connections of each listener; further ones are answered 503.
    #[arg(long, env = "PLANET_MAX_CONNECTIONS", value_name = "NUMBER", default_value = "1024", value_parser = positive)]
    pub max_connections: usize,

    /// Bytes of a call event's path and query; a longer one is answered 414.
    #[arg(long, env = "PLANET_MAX_URI_BYTES", value_name = "BYTES", default_value = "32KiB", value_parser = uri_bytes)]
    pub max_uri_bytes: usize,

    /// Networks of the proxies in front, such as 10.0.0.0/8,192.0.2.7, for --proxy-protocol.
    #[arg(long, env = "PLANET_TRUSTED_PROXIES", value_name = "CIDR,...", value_delimiter = ',', value_parser = network,
          required_if_eq("proxy_protocol", "required"))]
    pub trusted_proxies: Vec<IpNet>,

    /// Whether a header of the PROXY protocol (version 1 or 2), which says whose connection it is, is required from the peers in
    /// --trusted-proxies. Nobody else's is believed.
    #[arg(long, env = "PLANET_PROXY_PROTOCOL", value_enum, default_value_t = ProxyProtocol::Off)]
    pub proxy_protocol: ProxyProtocol,

    /// Time that a request's head may take to arrive.
    #[arg(long, env = "PLANET_HEADER_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,

    /// Time for which a connection may stay idle before its first request and between requests. It is to be longer than that of the
    /// proxy in front; otherwise the proxy may reuse a connection that is being closed.
    #[arg(long, env = "PLANET_IDLE_TIMEOUT", value_name = "DURATION", default_value = "61m", value_parser = duration)]
    pub idle_timeout: Duration,

    /// Time between SIGTERM or SIGINT and the orderly shutdown in which everybody is still served, /readyz answers 503 and each answer
    /// closes its connection, so that proxies go elsewhere before anything is refused.
    #[arg(long, env = "PLANET_DRAIN_TIME", value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub drain_time: Duration,

    /// Time that an orderly shutdown may take, after SIGTERM or SIGINT and --drain-time.
    #[arg(long, env = "PLANET_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "10s",
          value_parser = duration)]
    pub shutdown_timeout: Duration,

    /// Where each call is logged as one line of JSON.
    #[arg(long, env = "PLANET_CALL_LOG", value_enum, default_value_t = CallLog::Off)]
    pub call_log: CallLog,

    /// Format of the program's own log, on standard error [default: text on a terminal, json elsewhere].
    #[arg(long, env = "PLANET_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,

    /// What is logged: error, warn, info, debug, trace, or filter directives such as info,planet_call_exporter=debug
    /// [default: that of OTEL_LOG_LEVEL, else info].
    #[arg(long, env = "PLANET_LOG_LEVEL", value_name = "LEVEL", value_parser = log_level)]
    pub log_level: Option<String>,

    /// Which of these were given.
    #[arg(skip)]
    pub given: Given,
}

/// The value of a flag as it is written on the command line.
pub fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

const OTLP_HELP: &str = "\
OTLP is on for a signal when OTEL_EXPORTER_OTLP_ENDPOINT, or its form for the signal, is set, or when OTEL_METRICS_EXPORTER or \
OTEL_TRACES_EXPORTER is otlp. It follows the variables of the OpenTelemetry specification; docs/otlp.md has each of them and \
what becomes of it. A Prometheus that scrapes and gets the pushes too has every call twice: \
OTEL_METRICS_EXPORTER=none pushes spans only.";

/// What leaves the exporter of user IDs and IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IdentityMode {
    /// Nothing.
    Drop,
    /// HMAC-SHA-256 with the key of --identity-key-file, in hexadecimal: the same user is the same text.
    Hash,
    /// What was sent.
    Keep,
}

/// How the service behind gets call events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ForwardMode {
    /// From the journal, again and again until it takes them; the exporter answers as soon as an event is stored.
    Stored,
    /// At once, and its own answer goes back.
    Inline,
}

/// Whether trusted peers send a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProxyProtocol {
    /// They do not.
    Off,
    /// They do, and a connection without one is not served.
    Required,
}

/// Where each call is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CallLog {
    /// Nowhere.
    Off,
    /// On standard output.
    Stdout,
}

/// The format of the program's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
