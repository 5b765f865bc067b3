//! `planet-call-exporter check`: what a run with these flags and variables would do, and whether it could. Nothing is
//! changed, and without `--connect` nobody is asked but who stands on the ports of this machine that it would listen
//! on.

mod findings;
mod ports;

use std::io::{self, Write};

use crate::config::given::Setting;
use crate::config::otlp::{Batches, OtlpSettings, Protocol, Push, Signal};
use crate::config::rate::Rate;
use crate::config::remark::Remark;
use crate::config::unused::unused;
use crate::config::{CallLog, Config, ForwardMode, IdentityMode};
use crate::http::peer::{for_people, url_for_people};
use crate::state::volume::Volume;

use findings::Finding;

/// What a run would begin with.
#[derive(Debug)]
pub struct Plan {
    /// The flags.
    pub config: Config,
    /// What the variables of OpenTelemetry say.
    pub otlp: OtlpSettings,
    /// What would be said of variables at the start.
    pub remarks: Vec<Remark>,
}

/// Writes all there is to say of `plan` to `output`, and returns whether it would run well. With `connect` the
/// collector and the service behind are tried too.
///
/// # Errors
/// `output` cannot be written.
pub async fn check(plan: &Plan, connect: bool, output: &mut impl Write) -> io::Result<bool> {
    writeln!(output, "{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))?;
    let settings = plan.config.given.settings().iter().map(|Setting { flag, value, by }| {
        let value = value.as_deref().unwrap_or("none");
        [format!("--{flag}"), shown(value), source(by.as_deref())]
    });
    write_table("flags", settings.collect(), output)?;
    write_table("what it would do", what_it_does(plan), output)?;
    let unused = unused(&plan.config, &plan.otlp).into_iter().map(|unused| unused.to_string());
    let said: Vec<_> = unused.chain(plan.remarks.iter().map(ToString::to_string)).collect();
    if !said.is_empty() {
        write_table(
            "without effect, or not followed",
            said.iter().map(|line| [for_people(line)]).collect(),
            output,
        )?;
    }
    let findings = findings::of(plan, connect).await;
    let rows = findings.iter().map(|Finding { what, outcome }| {
        let (verdict, text) = match outcome {
            Ok(text) => ("ok", text),
            Err(reason) => ("WRONG", reason),
        };
        [verdict.to_owned(), what.clone(), for_people(text)]
    });
    write_table("whether it could", rows.collect(), output)?;
    let wrong = findings.iter().filter(|finding| finding.outcome.is_err()).count();
    match wrong {
        0 => writeln!(output, "\nIt would run.")?,
        wrong => writeln!(output, "\nIt would not run as it is asked to; wrong: {wrong}.")?,
    }
    Ok(wrong == 0)
}

/// Writes rows below a title, in columns as wide as they need to be.
fn write_table<const COLUMNS: usize>(
    title: &str,
    rows: Vec<[String; COLUMNS]>,
    output: &mut impl Write,
) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    writeln!(output, "\n{title}:")?;
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(output, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// A value as it is shown: of a URL only what is no secret.
fn shown(value: &str) -> String {
    if value.contains("://") { url_for_people(value) } else { for_people(value) }
}

/// Where a value comes from.
fn source(by: Option<&str>) -> String {
    match by {
        None => "default".to_owned(),
        Some(flag) if flag.starts_with("--") => "flag".to_owned(),
        Some(variable) => variable.to_owned(),
    }
}

/// What becomes of a call event, and where it goes.
fn what_it_does(plan: &Plan) -> Vec<[String; 2]> {
    let Plan { config, otlp, .. } = plan;
    let totals = match &config.state_dir {
        Some(directory) => {
            let Volume { kind, lasts } = Volume::of(directory);
            format!("in {} ({kind}), {}", directory.display(), lasts.explain())
        }
        None => "in memory, and begin anew with each start".to_owned(),
    };
    let service = match (&config.forward_to, config.forward_mode) {
        (None, _) => "none".to_owned(),
        (Some(url), ForwardMode::Stored) => format!("{url}, from the journal until it takes them"),
        (Some(url), ForwardMode::Inline) => format!("{url}, at once, and its answer goes back"),
    };
    let call_log = match config.call_log {
        CallLog::Off => "off".to_owned(),
        CallLog::Stdout => "standard output".to_owned(),
        CallLog::Otlp => push(otlp, Signal::Logs),
    };
    let identity = match config.identity {
        IdentityMode::Drop => "none leave",
        IdentityMode::Hash => "hashed with the key of --identity-key-file",
        IdentityMode::Keep => "leave in spans and the call log as they came",
    };
    let rows = [
        ("call events", format!("at {}{}", config.listen, config.call_event_path)),
        ("who may bring them", who_may_bring_them(config)),
        ("metrics", format!("at {}/metrics", config.admin_listen)),
        ("OTLP metrics", push(otlp, Signal::Metrics)),
        ("OTLP spans", push(otlp, Signal::Traces)),
        ("service behind", service),
        ("call log", call_log),
        ("users, addresses", identity.to_owned()),
        ("totals", totals),
        ("level of the log", config.log_level.clone().unwrap_or_else(|| otlp.log_level.to_owned())),
    ];
    rows.map(|(what, text)| [what.to_owned(), for_people(&text)]).to_vec()
}

/// Who may bring call events.
fn who_may_bring_them(config: &Config) -> String {
    let networks = config.allow_from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = match networks.is_empty() {
        true => "everybody".to_owned(),
        false => format!("who comes from {networks}"),
    };
    if config.call_event_secret_file.is_some() {
        text = format!("{text} with the secret in the URL");
    }
    if let Some(Rate { per_second, burst }) = config.max_rate {
        text = format!("{text}; without the secret {per_second} a second for each peer, and {burst} at once");
    }
    text
}

fn push(otlp: &OtlpSettings, signal: Signal) -> String {
    let destination = match otlp.push(signal) {
        Push::To(destination) => destination,
        Push::Misconfigured => return "off, since a variable cannot be followed".to_owned(),
        Push::Off(reason) => return format!("off, since {}", reason.explain(signal)),
    };
    let protocol = match destination.protocol {
        Protocol::Grpc => "grpc",
        Protocol::HttpProtobuf => "http/protobuf",
    };
    let in_batches = |Batches { size, delay }| format!("up to {size} at once after {delay:?} at most");
    let pace = match signal {
        Signal::Metrics => format!("every {:?}", otlp.metric_interval),
        Signal::Traces => in_batches(otlp.span_batches),
        Signal::Logs => in_batches(otlp.log_batches),
    };
    let mut text = format!("{} by {protocol}, {pace}, {:?} for an attempt", destination, destination.timeout);
    if destination.gzip {
        text.push_str(", gzip");
    }
    if !destination.headers.is_empty() {
        let names: Vec<&str> = destination.headers.iter().map(|(name, _)| name.as_str()).collect();
        text = format!("{text}, with the headers {}", names.join(", "));
    }
    text
}
