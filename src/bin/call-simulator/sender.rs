//! Sends calls at their time, over keep-alive connections.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use planet_call_exporter::config::callback_url::{CallbackUrl, TURNED_AWAY, WRONG_PATH};
use planet_call_exporter::http::headers;
use planet_call_exporter::simulation::{Call, Scenario};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arguments::Arguments;
use crate::report::Report;

/// Why nothing can be sent.
#[derive(Debug, Error)]
pub(crate) enum SendError {
    /// The target does not answer.
    #[error("cannot connect to {target}: {source}; expected a running exporter at --target")]
    Unreachable { target: CallbackUrl, source: std::io::Error },
    /// The target answers 404 before anything was acknowledged.
    #[error("{0} answers 404: {WRONG_PATH}; give it with --target")]
    WrongPath(CallbackUrl),
    /// The target answers 403 before anything was acknowledged.
    #[error("{0} answers 403: {TURNED_AWAY}; give it with --target")]
    TurnedAway(CallbackUrl),
    /// The scenario's distributions cannot be made.
    #[error("cannot make the scenario: {0}")]
    Scenario(#[from] rand_distr::NormalError),
}

/// Sends the whole scenario and answers what became of it. Ctrl-C ends it early, and so does a URL at which nothing is taken.
pub(crate) async fn send_all(arguments: &Arguments) -> Result<Report, SendError> {
    let target = Target::new(&arguments.target);
    if let Err(source) = TcpStream::connect(&target.address).await {
        return Err(SendError::Unreachable { target: arguments.target.clone(), source });
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let scenario = Scenario::new(arguments.mix.clone(), now.as_secs())?;
    let report = Arc::new(Mutex::new(Report::new(arguments)));
    let (planned, due) = mpsc::channel(QUEUE);
    let due = Arc::new(Mutex::new(due));
    let progress = progress_bar(arguments);
    let (wrong_path, turned_away) = (CancellationToken::new(), CancellationToken::new());
    let started = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..arguments.connections {
        let connection = Connection {
            target: target.clone(),
            open: None,
            timeout: arguments.timeout,
            retry_for: arguments.retry_for.unwrap_or_default(),
            report: Arc::clone(&report),
            progress: progress.clone(),
            wrong_path: wrong_path.clone(),
            turned_away: turned_away.clone(),
        };
        connections.spawn(connection.run(Arc::clone(&due)));
    }
    tokio::select! {
        () = plan(scenario, arguments, planned, started) => {}
        // Without the signal there is no ending early, which is no reason to fail.
        _ = tokio::signal::ctrl_c() => {}
        () = wrong_path.cancelled() => {}
        () = turned_away.cancelled() => {}
    }
    while connections.join_next().await.is_some() {}
    progress.finish_and_clear();
    if wrong_path.is_cancelled() {
        return Err(SendError::WrongPath(arguments.target.clone()));
    }
    if turned_away.is_cancelled() {
        return Err(SendError::TurnedAway(arguments.target.clone()));
    }
    let mut report = std::mem::take(&mut *report.lock().await);
    report.finish(started.elapsed());
    Ok(report)
}

/// Calls that are due and wait for a connection, at most.
const QUEUE: usize = 1024;

/// Makes calls due at their time.
async fn plan(mut scenario: Scenario, arguments: &Arguments, planned: mpsc::Sender<Call>, started: Instant) {
    let number = arguments.number_of_calls();
    let mut made = 0;
    while number.map_or(started.elapsed() < arguments.run_time(), |number| made < number) {
        let call = scenario.next_call();
        tokio::time::sleep_until(started + call.at).await;
        if planned.send(call).await.is_err() {
            return;
        }
        made += 1;
    }
}

fn progress_bar(arguments: &Arguments) -> ProgressBar {
    let progress = match arguments.number_of_calls() {
        Some(number) => ProgressBar::new(number),
        None => ProgressBar::no_length(),
    };
    if !std::io::stderr().is_terminal() {
        progress.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = "{bar:40} {pos}/{len} calls, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        progress.set_style(style);
    }
    progress
}

/// Where requests go.
#[derive(Debug, Clone)]
struct Target {
    address: String,
    url: CallbackUrl,
}

impl Target {
    fn new(url: &CallbackUrl) -> Target {
        Target { address: url.address(), url: url.clone() }
    }
}

/// An answer.
#[derive(Debug, Clone, Copy)]
struct Answer {
    status: StatusCode,
    /// Whether it is one to a repeat.
    is_repeat: bool,
}

/// One keep-alive connection, opened again when it breaks.
struct Connection {
    target: Target,
    open: Option<SendRequest<Empty<bytes::Bytes>>>,
    timeout: Duration,
    retry_for: Duration,
    report: Arc<Mutex<Report>>,
    progress: ProgressBar,
    /// Cancelled when it turns out that the path is wrong.
    wrong_path: CancellationToken,
    /// Cancelled when it turns out that nothing is taken from here, or not with this URL.
    turned_away: CancellationToken,
}

impl Connection {
    /// Sends what is due until there is no more.
    async fn run(mut self, due: Arc<Mutex<mpsc::Receiver<Call>>>) {
        loop {
            let call = due.lock().await.recv().await;
            let Some(call) =
                call.filter(|_| !self.wrong_path.is_cancelled() && !self.turned_away.is_cancelled())
            else {
                return;
            };
            self.deliver(&call).await;
            self.progress.inc(1);
        }
    }

    async fn deliver(&mut self, call: &Call) {
        let first = Instant::now();
        let mut retries = 0;
        let (answer, latency) = loop {
            let started = Instant::now();
            let answer = self.send(call).await;
            let is_final = answer.is_some_and(|answer| !answer.status.is_server_error());
            if is_final || first.elapsed() >= self.retry_for {
                break (answer, started.elapsed());
            }
            retries += 1;
            tokio::time::sleep(RETRY_PAUSE).await;
        };
        let status = answer.map(|answer| answer.status);
        // After another attempt it may be this one's own repeat.
        let was_known = retries == 0 && answer.is_some_and(|answer| answer.is_repeat);
        // A repeat comes only after the acknowledgement of what it repeats.
        let repeated = match status {
            Some(StatusCode::OK) if call.is_repeated => self.send(call).await,
            _ => None,
        };
        let mut report = self.report.lock().await;
        report.note_sent(call);
        report.retries += retries;
        report.duplicates += u64::from(repeated.is_some_and(|answer| answer.status == StatusCode::OK));
        if status == Some(StatusCode::OK) {
            report.note_latency(latency);
        }
        match status {
            Some(StatusCode::OK) if was_known => report.known += 1,
            Some(StatusCode::OK) => report.acknowledge(call),
            Some(StatusCode::NOT_FOUND) if report.acknowledged + report.known == 0 => {
                self.wrong_path.cancel()
            }
            Some(StatusCode::FORBIDDEN) if report.acknowledged + report.known == 0 => {
                self.turned_away.cancel()
            }
            Some(status) if status.is_client_error() => report.refused += 1,
            _ => {
                report.unacknowledged += 1;
                report.unacknowledged_metrics.add(&call.truth);
            }
        }
    }

    /// Sends a call once and answers what came back, or nothing if there was no answer.
    async fn send(&mut self, call: &Call) -> Option<Answer> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(call)).await;
        let answer = answer.ok().flatten();
        if answer.is_none() {
            self.open = None;
        }
        answer
    }

    async fn exchange(&mut self, call: &Call) -> Option<Answer> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => connect(&self.target.address).await?,
        };
        if open.ready().await.is_err() {
            // The other end closed it while it was idle, which is its right.
            open = connect(&self.target.address).await?;
        }
        // A connection takes a path and a query, without the host.
        let uri = self.target.url.with(call.query.as_bytes())?;
        let request = Request::get(uri.path_and_query()?.as_str())
            .header(HOST, self.target.url.host())
            .body(Empty::new())
            .ok()?;
        let response = open.send_request(request).await.ok()?;
        let answer = Answer { status: response.status(), is_repeat: headers::is_repeat(response.headers()) };
        response.into_body().collect().await.ok()?;
        self.open = Some(open);
        Some(answer)
    }
}

/// The pause between two attempts to deliver a call.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

async fn connect(address: &str) -> Option<SendRequest<Empty<bytes::Bytes>>> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (open, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    // How the connection ends is seen by who uses it.
    tokio::spawn(async move { drop(connection.await) });
    Some(open)
}
