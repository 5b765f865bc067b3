//! The admin port's pages that look [back](crate::history) at the calls.
//!
//! | request | answer |
//! |---|---|
//! | GET /why, /why.json | what the failing calls of the last `minutes` have in common, for people and as data |
//! | GET /calls | the latest calls with this `sid`, `reason`, `idc`, `failing=1`, received `since` and `until`, at most `limit`, as JSON lines; with `follow=1` those that come, too |
//! | GET /report | what LINE Planet's support needs to know of the calls that failed `since` then and `until` then, with `reason` or `idc` of those only |
//!
//! They look at the journal on a thread of their own, one after another, so that whoever asks, and however often, holds
//! up neither metrics nor intake. Who waits for too long for the others is told to come again. What is answered is
//! small, or read as it is taken, a part at a time ([`stream`]).
//!
//! A browser is shown [`pages`] with links from each answer to the next; everybody else gets text and JSON.

mod pages;
mod parameters;
mod stream;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::header::{HeaderValue, RETRY_AFTER, VARY};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::view::View;
use super::{html, negotiation};
use crate::callback::CallEvent;
use crate::callback::shield::shielded;
use crate::config::call_filter::{CallFilter, NotAFilter, ReportFilter, switch};
use crate::config::look_back::{USUAL_MINUTES, minutes as read_minutes};
use crate::config::trace_url::TraceUrl;
use crate::history::calls::{MOST, USUAL_NUMBER};
use crate::history::report::report;
use crate::history::running::Running;
use crate::history::why::why;
use crate::http::pace::Pace;
use crate::http::response::{self, Body, Endless};
use crate::http::shown;
use crate::sinks::call_log;
use crate::sinks::identity::Identity;
use crate::state::thread::Thread;
use parameters::{BadParameter, pairs};
use stream::{Followers, Stream};

/// The paths of these pages.
pub(super) const PATHS: [&str; 4] = ["/why", "/why.json", "/calls", "/report"];

/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// When who waited in vain may come again, in seconds.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("2");

/// Answers these pages.
pub(super) struct LookBack {
    view: Arc<View>,
    trace_url: Option<TraceUrl>,
    turn: Arc<Semaphore>,
    followers: Followers,
    failures_logged: Pace,
}

impl LookBack {
    /// Looks back at what `view` has. Calls have links to their traces at `trace_url`. Who follows them does so until `stop`.
    pub(super) fn new(view: Arc<View>, trace_url: Option<TraceUrl>, stop: CancellationToken) -> LookBack {
        let (turn, followers) = (Arc::new(Semaphore::new(1)), Followers::new(stop));
        LookBack { view, trace_url, turn, followers, failures_logged: Pace::default() }
    }

    /// The answer to a request to one of the paths.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let is_browser = negotiation::wants_html(request.headers());
        let answered = match path {
            "/calls" => self.calls(query, is_browser, request.method() == Method::HEAD).await,
            "/report" => self.report(query).await,
            path => self.why(query, path == "/why.json", is_browser).await,
        };
        let mut answer = answered.unwrap_or_else(|none| none);
        html::protect(&mut answer);
        answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        answer
    }

    async fn why(
        &self,
        query: &str,
        is_json: bool,
        is_browser: bool,
    ) -> Result<Response<Body>, Response<Body>> {
        let minutes = minutes(query)?;
        let why = self.look(move |past| why(&past, SystemTime::now(), minutes)).await?;
        Ok(match (is_json, is_browser) {
            (true, _) => response::content(StatusCode::OK, "application/json", shown::to_json(&why) + "\n"),
            (false, true) => response::content(StatusCode::OK, html::CONTENT_TYPE, pages::why(&why, minutes)),
            (false, false) => for_people(&why.to_string()),
        })
    }

    async fn calls(
        &self,
        query: &str,
        is_browser: bool,
        is_head: bool,
    ) -> Result<Response<Body>, Response<Body>> {
        let Asked { filter, most, follows } = Asked::read(query)?;
        let now = SystemTime::now();
        let (is_one, until) = (filter.sid.is_some(), filter.until);
        let (past, calls) =
            self.look(move |past| past.calls(filter, most).map(|calls| (past, calls))).await?;
        let trace_url = self.trace_url.clone();
        if is_browser && !follows {
            let call = move |call: &CallEvent<'_>| match is_one {
                true => pages::one_call(call, trace_url.as_ref()),
                false => pages::row_of_call(call, trace_url.as_ref(), now),
            };
            let around = if is_one { pages::around_one_call() } else { pages::around_calls(query, most) };
            let stream = response::streamed(Stream::new(past, calls, around, call));
            return Ok(response::with_content_type(stream, html::CONTENT_TYPE));
        }
        let line = move |call: &CallEvent<'_>| {
            let trace = trace_url.as_ref().map(|url| url.of(call.sid));
            call_log::line(call, &Identity::Drop, trace.as_deref())
        };
        let mut stream = Stream::new(past, calls, Default::default(), line);
        // Who is shown none of them, or asks for what is over, takes no place.
        let follows = follows && !is_head && until.is_none_or(|until| until > now);
        if follows {
            stream = stream.follow(&self.followers, until);
        }
        let mut answer = response::with_content_type(response::streamed(stream), response::JSON_LINES);
        if follows {
            answer.extensions_mut().insert(Endless);
        }
        Ok(answer)
    }

    async fn report(&self, query: &str) -> Result<Response<Body>, Response<Body>> {
        let CallFilter { since, until, reason, idc, .. } = about(query)?;
        let since = since.ok_or_else(|| BadParameter::missing("since", SINCE))?;
        let until = until.unwrap_or_else(SystemTime::now);
        let filter = ReportFilter { reason, idc };
        let report = self.look(move |past| report(&past, since, until, &filter)).await?;
        Ok(for_people(&report.to_string()))
    }

    /// What comes of a look at what was stored, when its turn has come.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(Running) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Response<Body>> {
        let past = self.view.past().ok_or_else(|| later("the exporter is starting"))?;
        let turn = timeout(PATIENCE, Arc::clone(&self.turn).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(later("others are looking back; one does at a time")) };
        let (answer, answered) = oneshot::channel();
        let started = Thread::start("look-back", move || {
            let _turn = turn;
            // Who asked may be gone.
            drop(answer.send(shielded(|| look(past))));
        });
        let failed = |error: String| {
            if let Some(left_out) = self.failures_logged.due() {
                error!(%error, left_out, "the admin port cannot look back at the calls");
            }
            let detail = format!("the calls cannot be read: {error}");
            response::problem(StatusCode::INTERNAL_SERVER_ERROR, "Not readable", &detail, None)
        };
        started.map_err(|error| failed(error.to_string()))?;
        match answered.await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) => Err(failed(error.to_string())),
            Ok(Err(panicked)) => Err(failed(panicked.to_string())),
            Err(gone) => Err(failed(gone.to_string())),
        }
    }
}

/// A text that acts on no terminal.
fn for_people(text: &str) -> Response<Body> {
    response::text(StatusCode::OK, shown::escaped(text, |character| character == '\n').into_owned())
}

fn later(detail: &str) -> Response<Body> {
    let mut answer = response::problem(StatusCode::SERVICE_UNAVAILABLE, "Later", detail, None);
    answer.headers_mut().insert(RETRY_AFTER, COME_AGAIN);
    answer
}

/// What is expected of `since`.
const SINCE: &str = "a duration or a time, such as 2h or 2026-01-31T09:00:00Z";

fn minutes(query: &str) -> Result<u64, BadParameter> {
    let mut minutes = USUAL_MINUTES;
    for (name, text) in pairs(query)? {
        if name != "minutes" {
            return Err(BadParameter::unknown(&name, "minutes"));
        }
        minutes = read_minutes(&text).map_err(|expected| BadParameter::value(&name, &expected))?;
    }
    Ok(minutes)
}

/// What /report can be asked for.
const PARAMETERS_OF_REPORT: &str = "since, until, reason and idc";

/// What a report is to be about.
fn about(query: &str) -> Result<CallFilter, BadParameter> {
    let mut filter = CallFilter::default();
    for (name, text) in pairs(query)? {
        if !["since", "until", "reason", "idc"].contains(&&*name) {
            return Err(BadParameter::unknown(&name, PARAMETERS_OF_REPORT));
        }
        set(&mut filter, &name, &text, PARAMETERS_OF_REPORT)?;
    }
    Ok(filter)
}

/// What /calls can be asked for.
const PARAMETERS_OF_CALLS: &str = "sid, reason, idc, failing, since, until, limit and follow";

/// Which calls are asked for.
struct Asked {
    filter: CallFilter,
    most: usize,
    /// Whether those that are stored later are asked for, too.
    follows: bool,
}

impl Asked {
    fn read(query: &str) -> Result<Asked, BadParameter> {
        let mut asked = Asked { filter: CallFilter::default(), most: USUAL_NUMBER, follows: false };
        for (name, text) in pairs(query)? {
            match &*name {
                "limit" => {
                    let number = text.parse().ok().filter(|most| (1..=MOST).contains(most));
                    let expected = || format!("expected a number from 1 to {MOST}");
                    asked.most = number.ok_or_else(|| BadParameter::value(&name, &expected()))?;
                }
                "follow" => {
                    asked.follows =
                        switch(&text).map_err(|expected| BadParameter::value(&name, &expected))?;
                }
                _ => set(&mut asked.filter, &name, &text, PARAMETERS_OF_CALLS)?,
            }
        }
        Ok(asked)
    }
}

fn set(filter: &mut CallFilter, name: &str, text: &str, known: &str) -> Result<(), BadParameter> {
    filter.set(name, text).map_err(|wrong| match wrong {
        NotAFilter::Name => BadParameter::unknown(name, known),
        NotAFilter::Value(expected) => BadParameter::value(name, &expected),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_what_cannot_be_is_refused_with_what_is_expected() {
        assert_eq!([minutes(""), minutes("minutes=60")].map(Result::ok), [Some(USUAL_MINUTES), Some(60)]);
        let asked = |query: &str| Asked::read(query).expect("what is asked for");
        let all = asked("sid=a&reason=1305&idc=KR&since=2h&until=1h&limit=7&follow=1");
        let Asked { filter, most: 7, follows: true } = all else { panic!("7, and those that come") };
        assert!(filter.sid.is_some() && filter.reason.is_some() && filter.idc.is_some());
        assert!(filter.since < filter.until);
        assert!(matches!(asked("follow=0"), Asked { most: USUAL_NUMBER, follows: false, .. }));
        assert!(about("since=2026-01-31T09%3A00%3A00%2B09:00").is_ok_and(|filter| filter.since.is_some()));
        let refused = |wrong: Option<BadParameter>| wrong.map(|wrong| wrong.to_string()).unwrap_or_default();
        for (said, expected) in [
            (refused(minutes("minutes=0").err()), "minutes: expected a number of minutes from 1 to 1440"),
            (refused(minutes("minute=5").err()), "there is no parameter minute; expected minutes"),
            (refused(minutes("minutes=5&minutes=6").err()), "minutes: expected it once"),
            (refused(Asked::read("limit=10001").err()), "limit: expected a number from 1 to 10000"),
            (refused(Asked::read("reason=BUSSY").err()), "reason: expected a disconnect reason such as"),
            (
                refused(Asked::read("from_user_id=1").err()),
                "there is no parameter from_user_id; expected sid, reason",
            ),
            (refused(Asked::read("follow=yes").err()), "follow: expected 0 or 1"),
            (refused(about("since=yesterday").err()), "since: expected a duration or a time, such as 2h"),
            (
                refused(about("limit=1").err()),
                "there is no parameter limit; expected since, until, reason and idc",
            ),
        ] {
            assert!(said.contains(expected), "{expected} in {said}");
        }
    }
}
