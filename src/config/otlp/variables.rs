//! The one table of OpenTelemetry's variables: what each does here and what it is without, or why it has no meaning. Values are
//! read by it ([`super::reader`]), what is set and not used is said by it, and docs/otlp.md is made of it.
//!
//! Source: OpenTelemetry specification, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter".

use super::Signal;

/// What all names begin with.
pub(super) const PREFIX: &str = "OTEL_";

/// What the names begin with that have forms for one signal.
const OTLP: &str = "OTEL_EXPORTER_OTLP_";

/// A variable, or with `*` at its end all whose names begin so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    /// Whether there is a form for each signal, which comes first.
    pub(super) has_forms: bool,
    pub(super) role: Role,
}

/// What becomes of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is followed.
    Followed {
        /// What it decides.
        what: &'static str,
        /// What it is if it is not set; empty if nothing.
        default: &'static str,
        /// The signals without whose push it has no effect.
        signals: &'static [Signal],
        /// In which case alone it has one; empty if in any.
        only: &'static str,
    },
    /// It has no meaning here, for this reason.
    Unused(&'static str),
}

const METRICS: &[Signal] = &[Signal::Metrics];
const TRACES: &[Signal] = &[Signal::Traces];
const LOGS: &[Signal] = &[Signal::Logs];
const ALL: &[Signal] = &Signal::ALL;

impl Variable {
    const fn new(name: &'static str, default: &'static str, what: &'static str) -> Variable {
        let role = Role::Followed { what, default, signals: &[], only: "" };
        Variable { name, has_forms: false, role }
    }

    const fn of(self, concerned: &'static [Signal]) -> Variable {
        match self.role {
            Role::Followed { what, default, only, .. } => {
                Variable { role: Role::Followed { what, default, signals: concerned, only }, ..self }
            }
            Role::Unused(_) => self,
        }
    }

    const fn only(self, case: &'static str) -> Variable {
        match self.role {
            Role::Followed { what, default, signals, .. } => {
                Variable { role: Role::Followed { what, default, signals, only: case }, ..self }
            }
            Role::Unused(_) => self,
        }
    }

    const fn with_forms(self) -> Variable {
        Variable { has_forms: true, ..self.of(ALL) }
    }

    const fn unused(name: &'static str, reason: &'static str) -> Variable {
        Variable { name, has_forms: false, role: Role::Unused(reason) }
    }

    pub(super) fn default(&self) -> &'static str {
        match self.role {
            Role::Followed { default, .. } => default,
            Role::Unused(_) => "",
        }
    }

    /// Its name for a signal, if it has one of its own, and its name; the first that is set holds.
    pub(super) fn names(&self, signal: Option<Signal>) -> Vec<String> {
        let form = signal.filter(|_| self.has_forms).map(|signal| self.form(signal));
        form.into_iter().chain([self.name.to_owned()]).collect()
    }

    pub(super) fn form(&self, signal: Signal) -> String {
        let option = self.name.strip_prefix(OTLP).unwrap_or(self.name);
        format!("{OTLP}{}_{option}", signal.in_variables())
    }

    /// The signals that a name of this variable concerns, if it is one.
    fn signals_of(&self, name: &str) -> Option<&'static [Signal]> {
        let all = match self.role {
            Role::Followed { signals, .. } => signals,
            Role::Unused(_) => &[],
        };
        let is_named = match self.name.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.name,
        };
        match is_named {
            true => Some(all),
            false if !self.has_forms => None,
            false => {
                [METRICS, TRACES, LOGS].into_iter().find(|one| one.iter().any(|one| self.form(*one) == name))
            }
        }
    }
}

/// The variable of this name, and the signals that the name concerns.
pub(super) fn find(name: &str) -> Option<(&'static Variable, &'static [Signal])> {
    all().find_map(|variable| Some((variable, variable.signals_of(name)?)))
}

/// Every variable.
pub(super) fn all() -> impl Iterator<Item = &'static Variable> {
    SECTIONS.iter().flat_map(|(_, variables)| variables.iter())
}

pub(super) const SDK_DISABLED: Variable =
    Variable::new("OTEL_SDK_DISABLED", "false", "`true` turns all pushes off. `/metrics` stays.");
pub(super) const RESOURCE_ATTRIBUTES: Variable = Variable::new(
    "OTEL_RESOURCE_ATTRIBUTES",
    "",
    "Attributes of the resource, `name=value` joined by commas, percent-decoded. If one of them is malformed, none is taken.",
)
.of(ALL);
pub(super) const SERVICE_NAME: Variable = Variable::new(
    "OTEL_SERVICE_NAME",
    env!("CARGO_PKG_NAME"),
    "The resource's `service.name`. It takes precedence over that in `OTEL_RESOURCE_ATTRIBUTES`, which takes precedence over the default.",
)
.of(ALL);
pub(super) const LOG_LEVEL: Variable = Variable::new(
    "OTEL_LOG_LEVEL",
    "info",
    "The level of the program's own log: `error`, `warn`, `info`, `debug`, `trace` or `none`.",
)
.only("where neither --log-level nor PLANET_LOG_LEVEL is given");
pub(super) const TRACES_SAMPLER: Variable = Variable::new(
    "OTEL_TRACES_SAMPLER",
    "parentbased_always_on",
    "The calls whose spans are pushed: `always_on`, `always_off` or `traceidratio`, by the last 7 bytes of the trace ID. A call has \
     no parent, so `parentbased_` before it changes nothing. One that is not taken counts as delivered.",
);
pub(super) const TRACES_SAMPLER_ARG: Variable =
    Variable::new("OTEL_TRACES_SAMPLER_ARG", "1", "The ratio, from 0 to 1.")
        .of(TRACES)
        .only("where OTEL_TRACES_SAMPLER is traceidratio or parentbased_traceidratio");

pub(super) const SCHEDULE_DELAY: Variable = Variable::new(
    "OTEL_BSP_SCHEDULE_DELAY",
    "5000",
    "How long, in milliseconds, a span waits for a batch to fill.",
)
.of(TRACES);
pub(super) const SPAN_EXPORT_TIMEOUT: Variable = Variable::new(
    "OTEL_BSP_EXPORT_TIMEOUT",
    "",
    "Milliseconds that one attempt to push spans may take, if that is less than `OTEL_EXPORTER_OTLP_TIMEOUT`.",
)
.of(TRACES);
pub(super) const MAX_EXPORT_BATCH_SIZE: Variable =
    Variable::new("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", "Spans in one request, from 1 to 10000.")
        .of(TRACES);

pub(super) const LOG_SCHEDULE_DELAY: Variable = Variable::new(
    "OTEL_BLRP_SCHEDULE_DELAY",
    "1000",
    "How long, in milliseconds, a log record waits for a batch to fill.",
)
.of(LOGS);
pub(super) const LOG_EXPORT_TIMEOUT: Variable = Variable::new(
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "",
    "Milliseconds that one attempt to push logs may take, if that is less than `OTEL_EXPORTER_OTLP_TIMEOUT`.",
)
.of(LOGS);
pub(super) const LOG_MAX_EXPORT_BATCH_SIZE: Variable =
    Variable::new("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "512", "Log records in one request, from 1 to 10000.")
        .of(LOGS);

pub(super) const ENDPOINT: Variable = Variable::new(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "",
    "Where to push. With http/protobuf the general one is a base, to which `/v1/metrics`, `/v1/traces` and `/v1/logs` are added, and \
     that for one signal is the whole URL. Without one OTLP is off, unless `OTEL_METRICS_EXPORTER` or `OTEL_TRACES_EXPORTER` is \
     `otlp`, or `--call-log` is: then it is `http://localhost:4318`, for grpc `http://localhost:4317`. `user:password@` in it is sent as Basic authorization, unless \
     `OTEL_EXPORTER_OTLP_HEADERS` has an `Authorization`. It is logged without credentials and query.",
)
.with_forms();
pub(super) const PROTOCOL: Variable = Variable::new(
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "http/protobuf",
    "`grpc` or `http/protobuf`. `http/json` is not offered.",
)
.with_forms();
pub(super) const INSECURE: Variable =
    Variable::new("OTEL_EXPORTER_OTLP_INSECURE", "false", "`true` means http.")
        .with_forms()
        .only("for an endpoint of grpc without http:// or https://");
pub(super) const HEADERS: Variable = Variable::new(
    "OTEL_EXPORTER_OTLP_HEADERS",
    "",
    "Headers, or metadata of grpc: `name=value` joined by commas, values percent-decoded. They are never shown.",
)
.with_forms();
pub(super) const COMPRESSION: Variable =
    Variable::new("OTEL_EXPORTER_OTLP_COMPRESSION", "none", "`gzip` or `none`.").with_forms();
pub(super) const TIMEOUT: Variable =
    Variable::new("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "Milliseconds that one attempt may take.")
        .with_forms();
pub(super) const CERTIFICATE: Variable = Variable::new(
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "",
    "PEM file of the authorities to trust instead of the system's.",
)
.with_forms()
.only(WITH_TLS);
pub(super) const CLIENT_CERTIFICATE: Variable =
    Variable::new("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "", "PEM file of the exporter's own certificate.")
        .with_forms()
        .only(WITH_TLS);
pub(super) const CLIENT_KEY: Variable =
    Variable::new("OTEL_EXPORTER_OTLP_CLIENT_KEY", "", "PEM file of that certificate's key.")
        .with_forms()
        .only(WITH_TLS);
const WITH_TLS: &str = "for an endpoint of https";

pub(super) const TRACES_EXPORTER: Variable = Variable::new(
    "OTEL_TRACES_EXPORTER",
    "",
    "`otlp` turns the push of spans on, `none` off. If it is not set, the endpoint decides.",
);
pub(super) const METRICS_EXPORTER: Variable = Variable::new(
    "OTEL_METRICS_EXPORTER",
    "",
    "`otlp` turns the push of metrics on, `none` off, and so does `prometheus` alone; `/metrics` is there in any case. `otlp,prometheus` is \
     both. If it is not set, the endpoint decides.",
);

pub(super) const LOGS_EXPORTER: Variable = Variable::new(
    "OTEL_LOGS_EXPORTER",
    "",
    "`--call-log otlp` turns the push of logs on, not this. `none` turns it off all the same, and then the log says at startup that \
     `--call-log` has no effect. `otlp` without `--call-log otlp` has no effect, and that is said too.",
);

pub(super) const METRIC_EXPORT_INTERVAL: Variable =
    Variable::new("OTEL_METRIC_EXPORT_INTERVAL", "60000", "Milliseconds between two pushes of metrics.")
        .of(METRICS);
pub(super) const METRIC_EXPORT_TIMEOUT: Variable = Variable::new(
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "",
    "Milliseconds that one attempt to push metrics may take, if that is less than `OTEL_EXPORTER_OTLP_TIMEOUT`.",
)
.of(METRICS);
pub(super) const TEMPORALITY_PREFERENCE: Variable = Variable::new(
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "cumulative",
    "`cumulative`. `delta` and `lowmemory` are not offered, since totals go on across restarts: put the collector's \
     `cumulativetodelta` processor before a receiver that wants deltas.",
)
.of(METRICS);
pub(super) const HISTOGRAM_AGGREGATION: Variable = Variable::new(
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "explicit_bucket_histogram",
    "`explicit_bucket_histogram`, with the buckets of `--duration-buckets` and `--setup-buckets`. `base2_exponential_bucket_histogram` is not \
     offered, and no processor of the collector makes one of these; choose buckets as narrow as you need.",
)
.of(METRICS);

const LOGS_WAIT: &str =
    "calls wait in the journal up to --state-max-bytes, or in memory up to --backlog-max-bytes";
const LOGS_HAVE_THEIR_SIZE: &str =
    "a log record has what the call event says, which --max-uri-bytes bounds; nothing is cut off";
const NO_ZIPKIN: &str = "spans go out over OTLP only; the collector's zipkin exporter passes them on";
const SPANS_HAVE_THEIR_SIZE: &str =
    "a span has what the call event says, which --max-uri-bytes bounds; nothing is cut off";
const NO_FILE: &str = "it is not read; the variables in this table and the flags are all there is";

/// All of them, by the sections of the specification.
pub(super) const SECTIONS: &[(&str, &[Variable])] = &[
    (
        "General",
        &[
            SDK_DISABLED,
            RESOURCE_ATTRIBUTES,
            SERVICE_NAME,
            LOG_LEVEL,
            TRACES_SAMPLER,
            TRACES_SAMPLER_ARG,
            Variable::unused(
                "OTEL_PROPAGATORS",
                "a call event begins its trace, and requests are passed on with the headers that they came with",
            ),
            Variable::unused(
                "OTEL_ENTITIES",
                "who the telemetry comes from is said by OTEL_RESOURCE_ATTRIBUTES only",
            ),
        ],
    ),
    ("Which exporters", &[METRICS_EXPORTER, TRACES_EXPORTER, LOGS_EXPORTER]),
    (
        "OTLP",
        &[
            ENDPOINT,
            PROTOCOL,
            INSECURE,
            HEADERS,
            COMPRESSION,
            TIMEOUT,
            CERTIFICATE,
            CLIENT_CERTIFICATE,
            CLIENT_KEY,
            TEMPORALITY_PREFERENCE,
            HISTOGRAM_AGGREGATION,
            Variable::unused("OTEL_EXPORTER_OTLP_PROFILES_*", "there are no profiles"),
            Variable::unused(
                "OTEL_EXPORTER_OTLP_SPAN_INSECURE",
                "it has been renamed to OTEL_EXPORTER_OTLP_TRACES_INSECURE",
            ),
            Variable::unused(
                "OTEL_EXPORTER_OTLP_METRIC_INSECURE",
                "it has been renamed to OTEL_EXPORTER_OTLP_METRICS_INSECURE",
            ),
        ],
    ),
    (
        "Metrics",
        &[
            METRIC_EXPORT_INTERVAL,
            METRIC_EXPORT_TIMEOUT,
            Variable::unused(
                "OTEL_METRICS_EXEMPLAR_FILTER",
                "the exemplar of a bucket is always the latest call in it",
            ),
        ],
    ),
    (
        "Batches of spans",
        &[
            SCHEDULE_DELAY,
            SPAN_EXPORT_TIMEOUT,
            MAX_EXPORT_BATCH_SIZE,
            Variable::unused(
                "OTEL_BSP_MAX_QUEUE_SIZE",
                "spans wait in the journal up to --state-max-bytes, or in memory up to --backlog-max-bytes",
            ),
        ],
    ),
    (
        "Limits of attributes and spans",
        &[
            Variable::unused("OTEL_ATTRIBUTE_*", SPANS_HAVE_THEIR_SIZE),
            Variable::unused("OTEL_SPAN_*", SPANS_HAVE_THEIR_SIZE),
            Variable::unused("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", SPANS_HAVE_THEIR_SIZE),
            Variable::unused("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "a span has no links"),
        ],
    ),
    (
        "Logs",
        &[
            LOG_SCHEDULE_DELAY,
            LOG_EXPORT_TIMEOUT,
            LOG_MAX_EXPORT_BATCH_SIZE,
            Variable::unused("OTEL_BLRP_MAX_QUEUE_SIZE", LOGS_WAIT),
            Variable::unused("OTEL_LOGRECORD_*", LOGS_HAVE_THEIR_SIZE),
        ],
    ),
    (
        "Other exporters",
        &[
            Variable::unused("OTEL_EXPORTER_ZIPKIN_*", NO_ZIPKIN),
            Variable::unused("OTEL_EXPORTER_JAEGER_*", "spans go out over OTLP only, which Jaeger takes"),
            Variable::unused("OTEL_EXPORTER_PROMETHEUS_HOST", "--admin-listen says where /metrics is"),
            Variable::unused("OTEL_EXPORTER_PROMETHEUS_PORT", "--admin-listen says where /metrics is"),
        ],
    ),
    (
        "Declarative configuration",
        &[
            Variable::unused("OTEL_CONFIG_FILE", NO_FILE),
            Variable::unused("OTEL_EXPERIMENTAL_CONFIG_FILE", NO_FILE),
        ],
    ),
    (
        "Of other programs",
        &[
            Variable::unused(
                "OTEL_SEMCONV_STABILITY_OPT_IN",
                "names of metrics and attributes are this program's own",
            ),
            Variable::unused(
                "OTEL_RESOURCE_ATTRIBUTES_*",
                "OTEL_RESOURCE_ATTRIBUTES alone is read, which may be made of it",
            ),
            Variable::unused("OTEL_RESOURCE_PROVIDERS_*", FOREIGN),
            Variable::unused("OTEL_INSTRUMENTATION_*", FOREIGN),
            Variable::unused("OTEL_DOTNET_*", FOREIGN),
            Variable::unused("OTEL_GO_*", FOREIGN),
            Variable::unused("OTEL_INJECTOR_*", FOREIGN),
            Variable::unused("OTEL_JAVA_*", FOREIGN),
            Variable::unused("OTEL_JAVAAGENT_*", FOREIGN),
            Variable::unused("OTEL_NODE_*", FOREIGN),
            Variable::unused("OTEL_PHP_*", FOREIGN),
            Variable::unused("OTEL_PYTHON_*", FOREIGN),
            Variable::unused("OTEL_RUBY_*", FOREIGN),
        ],
    ),
];

const FOREIGN: &str = "it is for programs in another language, or for what instruments them";
