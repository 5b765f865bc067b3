//! `planet-call-exporter demo`: an exporter with simulated calls and an incident under way, in one process.
//!
//! The calls of the last hours are written into the journal of a state directory, as if an exporter had received them,
//! and an ordinary exporter starts with that. The calls after those come in over HTTP, each at its time. So it shows
//! what it would show of a service. The directory is temporary, and is gone at the end.
//!
//! Nothing of the environment is read: where `PLANET_FORWARD_TO` or `OTEL_EXPORTER_OTLP_ENDPOINT` is set, somebody
//! would get calls that never were.

mod calls;
mod text;

use std::ffi::OsString;
use std::io;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use hyper::http::Uri;
use tempfile::TempDir;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::{self, RunError};
use crate::config::environment::Environment;
use crate::config::otlp::{Flags, OtlpSettings};
use crate::config::{Config, DemoOptions};
use crate::journal::JournalError;
use crate::ops::commands;
use crate::ops::signals::Hangups;
use crate::simulation::{Incident, Mix, Scenario};
use crate::state::directory::StateError;

use calls::CallsToCome;

/// How long before the start the first call was received.
const PAST: Duration = Duration::from_hours(2);

/// How long before the start the incident began.
const INCIDENT: Duration = Duration::from_mins(12);

/// Calls a second, before the start and after it.
const RATE: f64 = 2.0;

/// The IDC of the incident.
const IDC: &str = "JP";

/// The reason with which its calls end, which is the platform's fault.
const REASON: &str = "SERVER_INTERNAL_ERROR";

/// How many of ten calls do.
const OF_TEN: u32 = 6;

/// Why there is no demonstration.
#[derive(Debug, Error)]
pub enum DemoError {
    /// There is no place for its state.
    #[error("cannot make a temporary directory for the calls: {0}; TMPDIR names another place")]
    Directory(#[from] io::Error),
    /// Its state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The calls before the start cannot be written.
    #[error("cannot write the calls before the start: {0}; TMPDIR names another place")]
    Journal(#[from] JournalError),
    /// The distributions of the calls cannot be made.
    #[error("cannot make the calls: {0}")]
    Calls(#[from] rand_distr::NormalError),
    /// The exporter does not take its flags.
    #[error(transparent)]
    Flags(#[from] clap::Error),
    /// The exporter does not run.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A demonstration.
#[derive(Debug)]
pub struct Demonstration {
    /// Removed when the demonstration is dropped.
    directory: TempDir,
    began: SystemTime,
    seed: u64,
}

impl Demonstration {
    /// A demonstration whose first call was received some time before `now`.
    ///
    /// # Errors
    /// There is no place for its state.
    pub fn new(seed: Option<u64>, now: SystemTime) -> Result<Demonstration, DemoError> {
        let directory = tempfile::Builder::new().prefix("planet-call-exporter-demo-").tempdir()?;
        let began = now.checked_sub(PAST).unwrap_or(SystemTime::UNIX_EPOCH);
        let seed = seed.unwrap_or_else(|| rand::random::<u32>().into());
        Ok(Demonstration { directory, began, seed })
    }

    /// With what its exporter runs.
    ///
    /// # Errors
    /// The exporter does not take it.
    pub fn settings(&self, options: &DemoOptions) -> Result<(Config, OtlpSettings), DemoError> {
        let flags: [(&str, OsString); 9] = [
            ("--state-dir", self.directory.path().into()),
            // Segments are a part of it, so that little is filled with zeros.
            ("--state-max-bytes", "64MiB".into()),
            ("--listen", options.listen.to_string().into()),
            ("--admin-listen", options.admin_listen.to_string().into()),
            ("--idcs", "KR,JP,TW".into()),
            // Nothing of it is there after the end, for which nobody waits long.
            ("--state-ephemeral", "true".into()),
            ("--shutdown-timeout", "2s".into()),
            // How long a state directory lasts is of no concern: this one is gone at the end.
            ("--log-level", "warn,planet_call_exporter::app::first_lines=error".into()),
            ("--log-format", "text".into()),
        ];
        let config = Config::of_flags(flags.into_iter().flat_map(|(flag, value)| [flag.into(), value]))?;
        let endpoint =
            options.otlp_endpoint.iter().map(|url: &Uri| ("OTEL_EXPORTER_OTLP_ENDPOINT", url.to_string()));
        let otlp = OtlpSettings::read(&endpoint.collect::<Environment>(), Flags::of(&config));
        Ok((config, otlp))
    }

    /// Makes the calls before the start and runs the exporter until `stop` completes. When it is ready, standard output
    /// says where to look, and the calls go on.
    ///
    /// # Errors
    /// The calls cannot be written, or those of the exporter.
    pub async fn run(
        self,
        config: Config,
        otlp: OtlpSettings,
        stop: impl Future<Output = ()>,
        hangups: Hangups,
    ) -> Result<(), DemoError> {
        let mut stop = pin!(stop);
        let mut to_come = tokio::select! {
            to_come = self.past() => to_come?,
            () = &mut stop => return Ok(()),
        };
        let ended = CancellationToken::new();
        let stop = async {
            stop.await;
            ended.cancel();
        };
        let (ready, is_ready) = oneshot::channel();
        let exporter = app::run(config, otlp, stop, hangups, |listening| {
            // Whoever waits for it ends with the exporter.
            let _ = ready.send(listening);
        });
        let calls = async {
            if let Ok(listening) = is_ready.await {
                let text = text::text(listening, self.began + (PAST - INCIDENT), self.seed);
                if let Err(error) = commands::print(text.as_bytes()) {
                    warn!(%error, "standard output does not say where to look");
                }
                to_come.send(listening.call_events, &ended).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            ended = exporter => Ok(ended?),
            () = calls => Ok(()),
        }
    }

    /// Writes the calls before the start, and returns those after it.
    async fn past(&self) -> Result<CallsToCome, DemoError> {
        let seconds = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let scenario = Scenario::new(mix(self.seed), seconds)?;
        let (path, began) = (self.directory.path().to_owned(), self.began);
        let written = tokio::task::spawn_blocking(move || calls::write_past(&path, scenario, began, PAST));
        written.await.map_err(io::Error::from)?
    }
}

/// The calls of a service, whose incident is not over.
fn mix(seed: u64) -> Mix {
    let share = f64::from(OF_TEN) / 10.0;
    let incident =
        format!("{IDC}:{REASON}:{}s:{}s:{share}", (PAST - INCIDENT).as_secs(), u64::from(u32::MAX));
    Mix {
        rate: RATE,
        seed,
        idcs: [("KR", 60), (IDC, 30), ("TW", 10)].map(|(idc, weight)| (idc.to_owned(), weight)).into(),
        video_share: 0.4,
        abnormal_share: 0.02,
        repeat_share: 0.01,
        // Each oddity would be an alert of its own beside the one to find.
        odd_share: 0.0,
        incident: incident.parse::<Incident>().into_iter().collect(),
    }
}
