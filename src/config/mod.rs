//! Flags and environment, validated, in one place.
//!
//! Every flag has an environment variable: `PLANET_` and its name in capitals; an empty one is an unset one. OTLP
//! follows the `OTEL_*` variables of the OpenTelemetry specification instead ([`otlp`]). What is set and has no effect
//! is known as such ([`unused`]).

pub mod call_filter;
pub mod callback_url;
pub mod canary_url;
mod contradiction;
pub mod environment;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod given;
pub mod help;
pub mod look_back;
pub mod otlp;
pub mod path;
pub mod rate;
pub mod remark;
pub mod routes;
pub mod trace_url;
pub mod unused;
mod values;

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hyper::http::Uri;
use ipnet::IpNet;

use self::call_filter::{CallFilter, ReportFilter, moment};
use self::callback_url::CallbackUrl;
use self::canary_url::CanaryUrl;
pub use self::contradiction::Contradiction;
use self::given::Given;
use self::look_back::{USUAL_MINUTES, minutes};
use self::rate::Rate;
use self::routes::{ProbeStatus, plain_path, registered_path};
use self::trace_url::TraceUrl;
use self::values::{
    bytes, canary_interval, duration, duration_or_none, idc, log_level, longest_call, network, number,
    otlp_receiver, positive, service, state_bytes, threads, uri_bytes,
};
use crate::http::ListenAddress;
use crate::http::server_tls::{Clients, OldestVersion, ServerFiles};
use crate::http::service::ServiceUrl;
use crate::ledger::Buckets;

/// The most worker threads unless a number is given.
const USUAL_WORKER_THREADS: usize = 4;

/// Telemetry sidecar for LINE Planet: turns call events into Prometheus metrics, OTLP metrics and spans.
#[derive(Debug, Clone, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
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
    /// Show what is in a state directory, and the totals as of now. It only reads, and may run beside an exporter.
    State {
        /// The state directory.
        directory: PathBuf,
        /// Exit with 1 if a checksum does not match. All are checked in any case.
        #[arg(long, conflicts_with_all = ["calls", "sid", "reason", "idc", "failing", "since", "until", "limit"])]
        verify: bool,
        /// Show the calls in the journal instead, one line of JSON each as in the call log, without users and addresses.
        #[arg(long)]
        calls: bool,
        /// Which calls are shown.
        #[command(flatten)]
        filter: CallFilter,
        /// Only the latest calls of those, at most this many.
        #[arg(long, value_name = "NUMBER", requires = "calls", value_parser = positive)]
        limit: Option<usize>,
    },
    /// Say what the failing calls of the last minutes have in common that other calls do not. Asks an exporter on this
    /// host, or reads a state directory, also beside a running exporter. Changes nothing.
    Why {
        /// The state directory [default: none, an exporter on this host is asked].
        directory: Option<PathBuf>,
        /// How many minutes to look back, at most 1440.
        #[arg(long, value_name = "NUMBER", default_value_t = USUAL_MINUTES, value_parser = minutes)]
        minutes: u64,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Which exporter.
        #[command(flatten)]
        admin_port: AdminPort,
    },
    /// Write a report of failed calls for LINE Planet's support: when they failed, how many of how many, by IDC, reason
    /// and release code, with session IDs. It names no people. Asks an exporter on this host, or reads a state
    /// directory. Changes nothing.
    Report {
        /// The state directory [default: none, an exporter on this host is asked].
        directory: Option<PathBuf>,
        /// From when on: so long ago, or a time (RFC 3339).
        #[arg(long, value_name = "DURATION|TIME", value_parser = moment)]
        since: SystemTime,
        /// Until when [default: now].
        #[arg(long, value_name = "DURATION|TIME", value_parser = moment)]
        until: Option<SystemTime>,
        /// What it is about.
        #[command(flatten)]
        filter: ReportFilter,
        /// Which exporter.
        #[command(flatten)]
        admin_port: AdminPort,
    },
    /// Say what the exporter would do with these flags and variables, where each value comes from, and whether it would run. It
    /// changes nothing. Exit with 1 if the exporter would not run, or not do what it is asked for.
    Check {
        /// What it would run with.
        #[command(flatten)]
        config: Box<Config>,
        /// Also connect to the collector, with an empty push, and to the service behind.
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
    /// Tell an exporter on this host to drain. This cannot be undone. Each answer closes its connection. If its state
    /// goes with its pod, the service behind gets a call event before it is acknowledged. For the preStop hook of its
    /// container. Exit with 1 if it does not drain.
    Drain {
        /// Which exporter.
        #[command(flatten)]
        admin_port: AdminPort,
        /// How long to wait before the command ends, whether or not the exporter drains, so that it goes on for a while
        /// before its container is told to end.
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration_or_none)]
        wait: Duration,
    },
    /// Wait until an exporter on this host can take call events. For the postStart hook of its container, so that the
    /// others start after that, and for scripts. Exit with 1 if it cannot in time.
    Wait {
        /// Which exporter.
        #[command(flatten)]
        admin_port: AdminPort,
        /// How long to wait.
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
        timeout: Duration,
    },
    /// Ask an exporter on this host for its status, and print the answer. Exits with 1 unless the answer is 200. For
    /// health checks where there is no other client.
    Probe {
        /// Which exporter.
        #[command(flatten)]
        admin_port: AdminPort,
        /// What to ask for, such as /livez, or /readyz?verbose.
        #[arg(default_value = "/livez")]
        path: String,
    },
    /// Send a canary to a callback URL, a request that never counts as a call, and say whether an exporter got it. To
    /// see whether call events get there from here, in any cluster or network. Exit with 1 if it does not come back.
    Canary {
        /// The URL as registered with LINE Planet, with its query if it has one.
        url: CanaryUrl,
        /// File with the secret that the URL has as its parameter secret, unless it stands there [default: none].
        #[arg(long = "call-event-secret-file", env = "PLANET_CALL_EVENT_SECRET_FILE", value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// Run an exporter with simulated calls and an incident under way, and say where to look. Everything is in one
    /// process, and nothing stays. It reads no variables.
    Demo {
        /// How.
        #[command(flatten)]
        options: DemoOptions,
    },
    /// Print the completions of a shell. For bash they belong in /etc/bash_completion.d/planet-call-exporter.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a manual page. `planet-call-exporter man | man -l -` shows it.
    Man {
        /// The command whose page to print [default: none, that of the program].
        #[arg(value_parser = ["state", "why", "report", "check", "replay", "drain", "wait", "probe", "canary", "demo", "completions", "man"])]
        command: Option<String>,
    },
}

/// How to demonstrate the exporter.
#[derive(Debug, Clone, Args)]
pub struct DemoOptions {
    /// Where call events come in [default: a free port of 127.0.0.1].
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", hide_default_value = true)]
    pub listen: ListenAddress,

    /// Where its pages are [default: a free port of 127.0.0.1].
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", hide_default_value = true)]
    pub admin_listen: ListenAddress,

    /// A receiver of OTLP, such as http://localhost:4318, which gets metrics, and spans of the calls after the start
    /// [default: none].
    #[arg(long, value_name = "URL", value_parser = otlp_receiver)]
    pub otlp_endpoint: Option<Uri>,

    /// The seed from which the calls are made, for the same ones again [default: a new one each time].
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

/// The admin port of an exporter on this host.
#[derive(Debug, Clone, Args)]
pub struct AdminPort {
    /// The exporter's --admin-listen.
    #[arg(
        long = "admin-listen",
        env = "PLANET_ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = ":9464"
    )]
    pub listen: ListenAddress,

    /// The exporter's --admin-web-config-file, which says whether the port speaks TLS [default: none, it does not].
    #[arg(long = "admin-web-config-file", env = "PLANET_ADMIN_WEB_CONFIG_FILE", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
}

/// How to run the exporter.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Config {
    /// Where call events come in: a port on every address of both families (:20200), an IP address and a port, or a host name
    /// and a port, which means every address of that name. 0.0.0.0 means IPv4 only.
    #[arg(long, env = "PLANET_LISTEN", value_name = "ADDRESS", default_value = ":20200")]
    pub listen: ListenAddress,

    /// Path of the call event callback as registered with LINE Planet, including the query that it was registered with, if any.
    #[arg(long, env = "PLANET_CALL_EVENT_PATH", value_name = "PATH", default_value = "/call_event",
          value_parser = registered_path)]
    pub call_event_path: String,

    /// File with the secret that the registered URL has as its parameter secret (/call_event?secret=SECRET). A call
    /// event without it gets
    /// 403. While the secret changes, the file has two lines, the old one and the new one. It is read again when it
    ///      changes [default: none, every call event is accepted].
    #[arg(long, env = "PLANET_CALL_EVENT_SECRET_FILE", value_name = "FILE")]
    pub call_event_secret_file: Option<PathBuf>,

    /// Status for a request to the callback without any parameter, such as a test of the registration: 200 counts it as a
    /// probe, 400 refuses it like anything else that cannot be a call event.
    #[arg(long, env = "PLANET_PROBE_STATUS", value_enum, default_value_t = ProbeStatus::Ok)]
    pub probe_status: ProbeStatus,

    /// Path on the port of call events that answers like /readyz, with or without a service behind [default: none; /readyz if
    /// no service is behind].
    #[arg(long, env = "PLANET_READINESS_PATH", value_name = "PATH", value_parser = plain_path)]
    pub readiness_path: Option<String>,

    /// Public URL of the call event callback, as registered with LINE Planet. The exporter sends itself a request through it,
    /// which never counts as a call, and reports whether it arrives [default: none, nothing is sent].
    #[arg(long, env = "PLANET_CANARY_URL", value_name = "URL", hide_env_values = true)]
    pub canary_url: Option<CanaryUrl>,

    /// Time from one such request to the next.
    #[arg(long, env = "PLANET_CANARY_INTERVAL", value_name = "DURATION", default_value = "60s", value_parser = canary_interval)]
    pub canary_interval: Duration,

    /// Where the status page, /metrics, /livez and /readyz are, in the same forms as --listen. The Prometheus exporters of
    /// OpenTelemetry SDKs use 9464 too: in one pod, one of the two needs another port.
    #[arg(long, env = "PLANET_ADMIN_LISTEN", value_name = "ADDRESS", default_value = ":9464")]
    pub admin_listen: ListenAddress,

    /// File with the TLS and the users of the admin port, in the format of the web configuration that Prometheus's own
    /// exporters have. It is read again when it changes [default: none, plain HTTP for everybody].
    #[arg(long, env = "PLANET_ADMIN_WEB_CONFIG_FILE", value_name = "FILE")]
    pub admin_web_config_file: Option<PathBuf>,

    /// File with the bearer token that the admin port requires: 16 to 256 characters. During a change, put the old and
    /// the new token on one line each. It is read again when it changes [default: none].
    #[arg(long, env = "PLANET_ADMIN_BEARER_TOKEN_FILE", value_name = "FILE")]
    pub admin_bearer_token_file: Option<PathBuf>,

    /// Whether 127.0.0.1 and ::1 may see /refused on the admin port, where it asks for no credentials.
    #[arg(long, env = "PLANET_ADMIN_TRUST_LOOPBACK", value_enum, default_value_t = TrustLoopback::Auto)]
    pub admin_trust_loopback: TrustLoopback,

    /// Whether POST /quitquitquit on the admin port, from this host, ends the exporter as SIGTERM does.
    #[arg(long, env = "PLANET_ADMIN_QUIT", value_name = "BOOLEAN", default_value_t = false, action = ArgAction::Set)]
    pub admin_quit: bool,

    /// Directory that keeps totals, session IDs and undelivered events across crashes and restarts [default: none, everything
    /// stays in memory].
    #[arg(long, env = "PLANET_STATE_DIR", value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,

    /// Whether the state directory goes with the pod, as an emptyDir does. Then what is left at the end counts as lost,
    /// and while the exporter drains, the service behind gets a call event before it is acknowledged.
    #[arg(long, env = "PLANET_STATE_EPHEMERAL", value_name = "BOOLEAN", default_value_t = false, action = ArgAction::Set)]
    pub state_ephemeral: bool,

    /// How long to wait for a state directory that another process holds, such as one that is about to end. Meanwhile
    /// /livez is 200, and /readyz says who holds it.
    #[arg(long, env = "PLANET_STATE_LOCK_WAIT", value_name = "DURATION", default_value = "0s", value_parser = duration_or_none)]
    pub state_lock_wait: Duration,

    /// Maximum size of the journal in the state directory. Beyond it, the exporter drops the oldest undelivered events, and
    /// does not know their session IDs after a restart.
    #[arg(long, env = "PLANET_STATE_MAX_BYTES", value_name = "BYTES", default_value = "1GiB", value_parser = state_bytes)]
    pub state_max_bytes: ByteSize,

    /// Age at which the exporter gives up an event that it could not deliver.
    #[arg(long, env = "PLANET_STATE_MAX_AGE", value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub state_max_age: Duration,

    /// Age at which a segment of the journal is closed, full or not. It is removed as a whole when every sink has passed it and
    /// its last session ID is forgotten, so user IDs stay on disk this much longer than session IDs are remembered.
    #[arg(long, env = "PLANET_SEGMENT_AGE", value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub segment_age: Duration,

    /// What spans and the call log contain of user IDs and IP addresses.
    #[arg(long, env = "PLANET_IDENTITY", value_enum, default_value_t = IdentityMode::Drop)]
    pub identity: IdentityMode,

    /// File with the key of --identity hash: at least 16 bytes, not counting a final line break.
    #[arg(long, env = "PLANET_IDENTITY_KEY_FILE", value_name = "FILE", required_if_eq("identity", "hash"))]
    pub identity_key_file: Option<PathBuf>,

    /// IDCs to expect, such as KR,JP: their usual series exist at 0 from the start. A code that ISO 3166-1 does not assign has
    /// a label of its own only if it is listed here.
    #[arg(long, env = "PLANET_IDCS", value_name = "IDC,...", value_delimiter = ',', value_parser = idc)]
    pub idcs: Vec<String>,

    /// Services that the call metrics tell apart by the label service: the value of from_service_id if it is listed here, else
    /// "other".
    #[arg(long, env = "PLANET_SERVICES", value_name = "SERVICE,...", value_delimiter = ',', value_parser = service)]
    pub services: Vec<String>,

    /// The longest plausible duration, billed time and setup time of a call. Longer ones count as this long, and as an anomaly.
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

    /// Maximum number of label sets of planet_calls_total. Beyond it, the IDC and the disconnect reason of new ones are
    /// "other".
    #[arg(long, env = "PLANET_MAX_SERIES", value_name = "NUMBER", default_value = "10000", value_parser = positive)]
    pub max_series: usize,

    /// How old a series may be for a new Prometheus or OTLP receiver to see it at 0 first. An older one shows its value at
    /// once, since old totals after a 0 would count as new calls.
    #[arg(long, env = "PLANET_SERIES_ZERO_FOR", value_name = "DURATION", default_value = "5m", value_parser = duration_or_none)]
    pub series_zero_for: Duration,

    /// Whether OpenMetrics says when each series was born, as a sample that ends in _created. Prometheus makes each of these a
    /// series of its own.
    #[arg(long, env = "PLANET_CREATED_SERIES", value_name = "BOOLEAN", default_value_t = false, action = ArgAction::Set)]
    pub created_series: bool,

    /// Number of session IDs to remember, to recognize a repeated call event. Each takes 60 to 150 bytes of memory.
    #[arg(long, env = "PLANET_SEEN_MAX", value_name = "NUMBER", default_value = "500000", value_parser = positive)]
    pub seen_max: usize,

    /// How long to remember a session ID.
    #[arg(long, env = "PLANET_SEEN_AGE", value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub seen_age: Duration,

    /// Number of refused requests to keep in memory. The admin port shows them at /refused, to this host and to anyone with
    /// credentials.
    #[arg(long, env = "PLANET_REFUSED_MAX", value_name = "NUMBER", default_value = "200", value_parser = number)]
    pub refused_max: usize,

    /// How long to keep a refused request, in memory and in the state directory, or an event on which the exporter failed.
    #[arg(long, env = "PLANET_REFUSED_AGE", value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub refused_age: Duration,

    /// Without a state directory: how much may wait in memory for spans, the call log and the service behind. Beyond it, the
    /// exporter drops the oldest.
    #[arg(long, env = "PLANET_BACKLOG_MAX_BYTES", value_name = "BYTES", default_value = "64MiB", value_parser = bytes)]
    pub backlog_max_bytes: ByteSize,

    /// Base URL of the service behind, such as http://127.0.0.1:8080: it gets its call events and everything else that
    /// arrives [default: none, the exporter answers everything itself].
    #[arg(long, env = "PLANET_FORWARD_TO", value_name = "URL", hide_env_values = true)]
    pub forward_to: Option<ServiceUrl>,

    /// How the service behind gets call events.
    #[arg(long, env = "PLANET_FORWARD_MODE", value_enum, default_value_t = ForwardMode::Stored)]
    pub forward_mode: ForwardMode,

    /// How long the service behind may take for a connection, for its answer, and for every further part of it.
    #[arg(long, env = "PLANET_FORWARD_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub forward_timeout: Duration,

    /// Number of call events on their way to the service behind at once; up to four times as many while it leaves some
    /// unanswered.
    #[arg(long, env = "PLANET_FORWARD_CONCURRENCY", value_name = "NUMBER", default_value = "16", value_parser = positive)]
    pub forward_concurrency: usize,

    /// Age at which the exporter stops retrying a call event that the service behind did not take.
    #[arg(long, env = "PLANET_FORWARD_MAX_AGE", value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub forward_max_age: Duration,

    /// Maximum number of open connections per listener. A further one replaces the connection that has waited longest
    /// for a request; if none is waiting, it gets 503.
    #[arg(long, env = "PLANET_MAX_CONNECTIONS", value_name = "NUMBER", default_value = "1024", value_parser = positive)]
    pub max_connections: usize,

    /// Maximum number of open connections of each peer: an IPv4 address, or a /64 of IPv6. Not for a listener behind a
    /// proxy, which is one peer unless it speaks the PROXY protocol [default: none].
    #[arg(long, env = "PLANET_MAX_CONNECTIONS_PER_PEER", value_name = "NUMBER", value_parser = positive)]
    pub max_connections_per_peer: Option<usize>,

    /// Maximum size of a call event's path and query. A longer one gets 414.
    #[arg(long, env = "PLANET_MAX_URI_BYTES", value_name = "BYTES", default_value = "32KiB", value_parser = uri_bytes)]
    pub max_uri_bytes: usize,

    /// Networks from which call events may come, such as 203.0.113.0/24,198.51.100.7; those from elsewhere are answered 403
    /// [default: none, they may come from anywhere].
    #[arg(long, env = "PLANET_ALLOW_FROM", value_name = "CIDR,...", value_delimiter = ',', value_parser = network)]
    pub allow_from: Vec<IpNet>,

    /// Call events a second that one peer may send without the secret, and how many at once, such as 100:2000; further
    /// ones are answered
    /// 429. A peer is an address of IPv4, or a network of IPv6 of 64 bits [default: none, as many as it likes].
    #[arg(long, env = "PLANET_MAX_RATE", value_name = "RATE[:BURST]")]
    pub max_rate: Option<Rate>,

    /// Networks of the proxies in front, such as 10.0.0.0/8,192.0.2.7: for --proxy-protocol, and for --allow-from and
    /// --max-rate, which take the client's address from what these add to X-Forwarded-For or Forwarded.
    #[arg(long, env = "PLANET_TRUSTED_PROXIES", value_name = "CIDR,...", value_delimiter = ',', value_parser = network,
          required_if_eq("proxy_protocol", "required"))]
    pub trusted_proxies: Vec<IpNet>,

    /// Whether the peers in --trusted-proxies must send a header of the PROXY protocol (version 1 or 2), which says whose
    /// connection it is. Nobody else's is believed.
    #[arg(long, env = "PLANET_PROXY_PROTOCOL", value_enum, default_value_t = ProxyProtocol::Off)]
    pub proxy_protocol: ProxyProtocol,

    /// File with the certificate of the port of call events, in PEM, followed by the intermediate certificates: the
    /// port speaks TLS. It is read again when it changes [default: none, it speaks plain HTTP].
    #[arg(long, env = "PLANET_TLS_CERT_FILE", value_name = "FILE", requires = "tls_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// File with the key of --tls-cert-file, in PEM.
    #[arg(long, env = "PLANET_TLS_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    pub tls_key_file: Option<PathBuf>,

    /// File with the certificate authorities of clients, in PEM: a client has to show a certificate of theirs on the port of
    /// call events [default: none, clients need no certificate].
    #[arg(long, env = "PLANET_TLS_CLIENT_CA_FILE", value_name = "FILE", requires = "tls_cert_file")]
    pub tls_client_ca_file: Option<PathBuf>,

    /// How long the head of a request may take to arrive, and before it a TLS handshake.
    #[arg(long, env = "PLANET_HEADER_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,

    /// How long a connection may stay idle before its first request and between requests. It must be longer than the idle
    /// timeout of the proxy in front; otherwise the proxy may reuse a connection that is being closed.
    #[arg(long, env = "PLANET_IDLE_TIMEOUT", value_name = "DURATION", default_value = "61m", value_parser = duration)]
    pub idle_timeout: Duration,

    /// Number of threads that answer call events and deliver them; the admin port has one of its own [default: as many as the
    /// process has processors, at most 4].
    #[arg(long, env = "PLANET_WORKER_THREADS", value_name = "NUMBER", value_parser = threads)]
    pub worker_threads: Option<usize>,

    /// How long the exporter still serves everybody after SIGTERM or SIGINT. Meanwhile /readyz answers 503 and each answer
    /// closes its connection, so that proxies go elsewhere before anything is refused.
    #[arg(long, env = "PLANET_DRAIN_TIME", value_name = "DURATION", default_value = "0s", value_parser = duration_or_none)]
    pub drain_time: Duration,

    /// How long the orderly shutdown may take, after SIGTERM or SIGINT and --drain-time.
    #[arg(long, env = "PLANET_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "10s",
          value_parser = duration)]
    pub shutdown_timeout: Duration,

    /// Where to log each call.
    #[arg(long, env = "PLANET_CALL_LOG", value_enum, default_value_t = CallLog::Off)]
    pub call_log: CallLog,

    /// Where a tracing backend shows the trace of a call, {trace_id} standing for its ID: /calls has a link to it
    /// [default: none].
    #[arg(long, env = "PLANET_TRACE_URL", value_name = "URL")]
    pub trace_url: Option<TraceUrl>,

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

impl Config {
    /// How long the state lasts.
    pub fn state_lifetime(&self) -> StateLifetime {
        match (&self.state_dir, self.state_ephemeral) {
            (None, _) => StateLifetime::Process,
            (Some(_), true) => StateLifetime::Pod,
            (Some(_), false) => StateLifetime::Volume,
        }
    }

    /// How many threads serve: a few, however large the node is, since each takes memory and one handles tens of
    /// thousands of calls a second.
    pub fn worker_threads(&self) -> usize {
        let usual = || thread::available_parallelism().map_or(1, NonZero::get).min(USUAL_WORKER_THREADS);
        self.worker_threads.unwrap_or_else(usual)
    }

    /// The files of TLS on the port of call events, if it speaks that.
    pub fn tls_files(&self) -> Option<ServerFiles> {
        let (certificate, key) = self.tls_cert_file.clone().zip(self.tls_key_file.clone())?;
        let clients = self.tls_client_ca_file.clone().map_or(Clients::Anyone, Clients::Required);
        Some(ServerFiles { certificate, key, clients, oldest: OldestVersion::Tls12 })
    }
}

/// The value of a flag as it is written on the command line.
pub fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// How long the state lasts: totals, session IDs and what waits for delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateLifetime {
    /// As long as the process.
    Process,
    /// As long as the pod, however often the process starts in it.
    Pod,
    /// Beyond the pod.
    Volume,
}

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

/// Whether the loopback address is trusted on the admin port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrustLoopback {
    /// It is, until a connection comes from another loopback address such as 127.0.0.6, as a mesh makes them; never for a
    /// request with a header that proxies add.
    Auto,
    /// It is.
    Always,
    /// It is not.
    Never,
}

/// Where each call is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CallLog {
    /// Nowhere.
    Off,
    /// On standard output, as one line of JSON.
    Stdout,
    /// Over OTLP, as one log record; the OTEL_* variables say where to.
    Otlp,
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
