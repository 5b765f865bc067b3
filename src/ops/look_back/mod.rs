//! The admin port's pages that look [back](crate::history) at the calls.
//!
//! | request | answer |
//! |---|---|
//! | GET /why, /why.json | what the failing calls of the last `minutes` have in common, for people and as data |
//! | GET /calls | the latest calls with this `sid`, `reason`, `idc`, received `since` and `until`, at most `limit`, as JSON lines |
//! | GET /report | what LINE Planet's support needs to know of the calls that failed `since` then and `until` then |
//!
//! They look at the journal on a thread of their own, one after another, so that whoever asks, and however often, holds up neither metrics nor
//! intake. Who waits for too long for the others is told to come again. What is answered is small, or read as it is taken ([`lines`]).

mod lines;
mod parameters;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tracing::error;

use super::view::View;
use crate::callback::shield::shielded;
use crate::config::call_filter::{CallFilter, NotAFilter};
use crate::config::look_back::{USUAL_MINUTES, minutes as read_minutes};
use crate::history::calls::{MOST, USUAL_NUMBER};
use crate::history::report::report;
use crate::history::running::Running;
use crate::history::why::why;
use crate::http::pace::Pace;
use crate::http::response::{self, Body};
use crate::http::shown;
use crate::state::thread::Thread;
use lines::Lines;
use parameters::{BadParameter, pairs};

/// The paths of these pages.
pub(super) const PATHS: [&str; 4] = ["/why", "/why.json", "/calls", "/report"];

/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// When who waited in vain may come again, in seconds.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("2");

/// Answers these pages.
pub(super) struct LookBack {
    view: Arc<View>,
    turn: Arc<Semaphore>,
    failures_logged: Pace,
}

impl LookBack {
    /// Looks back at what `view` has.
    pub(super) fn new(view: Arc<View>) -> LookBack {
        LookBack { view, turn: Arc::new(Semaphore::new(1)), failures_logged: Pace::default() }
    }

    /// The answer to a GET of one of the paths with this query.
    pub(super) async fn answer(&self, path: &str, query: &str) -> Response<Body> {
        let answered = match path {
            "/calls" => self.calls(query).await,
            "/report" => self.report(query).await,
            path => self.why(query, path == "/why.json").await,
        };
        let mut answer = answered.unwrap_or_else(|none| none);
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    async fn why(&self, query: &str, is_json: bool) -> Result<Response<Body>, Response<Body>> {
        let minutes = minutes(query)?;
        let why = self.look(move |past| why(&past, SystemTime::now(), minutes)).await?;
        Ok(match is_json {
            true => response::content(StatusCode::OK, "application/json", shown::to_json(&why) + "\n"),
            false => for_people(&why.to_string()),
        })
    }

    async fn calls(&self, query: &str) -> Result<Response<Body>, Response<Body>> {
        let (filter, most) = filter(query)?;
        let (past, calls) =
            self.look(move |past| past.calls(filter, most).map(|calls| (past, calls))).await?;
        let lines = response::streamed(Lines::new(past, calls));
        Ok(response::with_content_type(lines, "application/jsonl; charset=utf-8"))
    }

    async fn report(&self, query: &str) -> Result<Response<Body>, Response<Body>> {
        let filter = times(query)?;
        let since = filter.since.ok_or_else(|| BadParameter::missing("since", SINCE))?;
        let report =
            self.look(move |past| report(&past, since, filter.until.unwrap_or_else(SystemTime::now))).await?;
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

fn times(query: &str) -> Result<CallFilter, BadParameter> {
    let mut filter = CallFilter::default();
    for (name, text) in pairs(query)? {
        if !["since", "until"].contains(&&*name) {
            return Err(BadParameter::unknown(&name, "since and until"));
        }
        set(&mut filter, &name, &text, "since and until")?;
    }
    Ok(filter)
}

fn filter(query: &str) -> Result<(CallFilter, usize), BadParameter> {
    let (mut filter, mut most) = (CallFilter::default(), USUAL_NUMBER);
    for (name, text) in pairs(query)? {
        if name == "limit" {
            let number = text.parse().ok().filter(|most| (1..=MOST).contains(most));
            let expected = || format!("expected a number from 1 to {MOST}");
            most = number.ok_or_else(|| BadParameter::value(&name, &expected()))?;
        } else {
            set(&mut filter, &name, &text, "sid, reason, idc, since, until and limit")?;
        }
    }
    Ok((filter, most))
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
        let (all, most) = filter("sid=a&reason=1305&idc=KR&since=2h&until=1h&limit=7").expect("a filter");
        assert!(all.sid.is_some() && all.reason.is_some() && all.idc.is_some() && all.since < all.until);
        assert_eq!((most, filter("").expect("a filter").1), (7, USUAL_NUMBER));
        assert!(times("since=2026-01-31T09%3A00%3A00%2B09:00").is_ok_and(|filter| filter.since.is_some()));
        let refused = |wrong: Option<BadParameter>| wrong.map(|wrong| wrong.to_string()).unwrap_or_default();
        for (said, expected) in [
            (refused(minutes("minutes=0").err()), "minutes: expected a number of minutes from 1 to 1440"),
            (refused(minutes("minute=5").err()), "there is no parameter minute; expected minutes"),
            (refused(minutes("minutes=5&minutes=6").err()), "minutes: expected it once"),
            (refused(filter("limit=10001").err()), "limit: expected a number from 1 to 10000"),
            (refused(filter("reason=BUSSY").err()), "reason: expected a disconnect reason such as"),
            (
                refused(filter("from_user_id=1").err()),
                "there is no parameter from_user_id; expected sid, reason",
            ),
            (refused(times("since=yesterday").err()), "since: expected a duration or a time, such as 2h"),
            (refused(times("limit=1").err()), "there is no parameter limit; expected since and until"),
        ] {
            assert!(said.contains(expected), "{expected} in {said}");
        }
    }
}
