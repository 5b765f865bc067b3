//! Calls on their way to whoever looks at them.
//!
//! There may be ten thousand, and anybody on this host may ask again and again and take nothing. So each part of the
//! answer is read from the journal when it is asked for, and one part at most is in memory.
//!
//! Who *follows* is sent each call as it is stored, until the exporter stops, the time is over, nothing that is asked
//! for can come any more, or too many others follow: then the one who has done so for longest goes. That one may be
//! gone without a word, which shows only when there is a call to be sent. At the end there is a last look, so that
//! nothing is missing that was acknowledged before. What memory had no room for until it could be read is told as a
//! number.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::callback::CallEvent;
use crate::history::calls::Calls;
use crate::history::running::Running;

/// Bytes that are read at once, but for the call that is the last of them.
const PART: usize = 16 * 1024;

/// Bytes that a connection is given at once.
const CHUNK: usize = 16 * 1024;

/// How often is looked for calls that were stored meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a call may take from its receipt until it is stored, for who follows until a moment.
const UNTIL_STORED: Duration = Duration::from_secs(1);

/// The longest that somebody follows.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How many follow at once.
const MOST_FOLLOWERS: usize = 8;

/// How a call is shown.
type Show = dyn Fn(&CallEvent<'_>) -> String + Send + Sync;

/// Calls as the body of an answer.
pub(super) struct Stream {
    past: Running,
    show: Arc<Show>,
    /// `None` while a part is read.
    calls: Option<Calls>,
    /// What was read and not taken.
    part: Bytes,
    reading: Option<JoinHandle<io::Result<(Calls, String)>>>,
    /// What comes behind the last call.
    end: Bytes,
    following: Option<Following>,
}

/// What ends the following of calls, and the next look for some.
struct Following {
    until: Option<SystemTime>,
    ends_at: Instant,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    look: Pin<Box<Sleep>>,
    /// Whether the last look has been taken.
    is_over: bool,
    /// Gives the place among those who follow back.
    _place: DropGuard,
}

/// Those who follow.
pub(super) struct Followers {
    stop: CancellationToken,
    /// Cancelled when its follower has gone or is to go; the longest at first.
    places: Mutex<VecDeque<CancellationToken>>,
}

impl Followers {
    /// Nobody yet. All go at `stop`.
    pub(super) fn new(stop: CancellationToken) -> Followers {
        Followers { stop, places: Mutex::default() }
    }

    /// A place for another one, which is that of the longest if there are too many.
    fn place(&self) -> CancellationToken {
        let place = self.stop.child_token();
        // Nothing in here panics between two changes that belong together.
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| !place.is_cancelled());
        if places.len() >= MOST_FOLLOWERS
            && let Some(longest) = places.pop_front()
        {
            longest.cancel();
        }
        places.push_back(place.clone());
        place
    }
}

impl Stream {
    /// These calls, each as `show` makes it, between `begin` and `end`.
    pub(super) fn new(
        past: Running,
        calls: Calls,
        [begin, end]: [String; 2],
        show: impl Fn(&CallEvent<'_>) -> String + Send + Sync + 'static,
    ) -> Stream {
        let (calls, show) = (Some(calls), Arc::new(show));
        Stream { past, show, calls, part: begin.into(), reading: None, end: end.into(), following: None }
    }

    /// Goes on with calls that are stored later, before `until`.
    pub(super) fn follow(self, followers: &Followers, until: Option<SystemTime>) -> Stream {
        let place = followers.place();
        let following = Following {
            until,
            ends_at: Instant::now() + LONGEST,
            stop: Box::pin(place.clone().cancelled_owned()),
            look: Box::pin(sleep(LOOK_EVERY)),
            is_over: false,
            _place: place.drop_guard(),
        };
        Stream { following: Some(following), ..self }
    }

    fn read(&mut self, mut calls: Calls) {
        let (past, show) = (self.past.clone(), Arc::clone(&self.show));
        self.reading = Some(spawn_blocking(move || {
            let shown = past.read_calls(&mut calls, PART, &*show)?;
            Ok((calls, shown))
        }));
    }
}

impl Following {
    /// Completes when there may be more calls, with whether to look for them.
    fn poll_look(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.is_over {
            return Poll::Ready(false);
        }
        let until = self.until.and_then(|until| until.checked_add(UNTIL_STORED));
        self.is_over = until.is_some_and(|until| until <= SystemTime::now())
            || Instant::now() >= self.ends_at
            || self.stop.as_mut().poll(context).is_ready();
        if self.is_over {
            return Poll::Ready(true);
        }
        ready!(self.look.as_mut().poll(context));
        self.look.as_mut().reset(Instant::now() + LOOK_EVERY);
        Poll::Ready(true)
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if !this.part.is_empty() {
                let length = this.part.len().min(CHUNK);
                // A copy: a slice would keep the whole part.
                let chunk = Bytes::copy_from_slice(&this.part.split_to(length));
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if let Some(reading) = &mut this.reading {
                let read = ready!(Pin::new(reading).poll(context));
                this.reading = None;
                match read {
                    Ok(Ok((mut calls, mut shown))) => {
                        let missed = calls.missed();
                        if this.following.is_some() && missed > 0 {
                            shown.insert_str(0, &format!("{{\"missed\":{missed}}}\n"));
                        }
                        (this.calls, this.part) = (Some(calls), shown.into());
                    }
                    Ok(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    Err(error) => return Poll::Ready(Some(Err(error.into()))),
                }
                continue;
            }
            let Some(mut calls) = this.calls.take() else { return Poll::Ready(None) };
            if !calls.is_at_end() {
                this.read(calls);
                continue;
            }
            match this.following.as_mut().map(|following| following.poll_look(context)) {
                Some(Poll::Pending) => {
                    this.calls = Some(calls);
                    return Poll::Pending;
                }
                Some(Poll::Ready(true)) => {
                    this.past.go_on(&mut calls);
                    this.calls = Some(calls);
                }
                // Without `calls`, it is the end.
                Some(Poll::Ready(false)) | None => this.part = std::mem::take(&mut this.end),
            }
        }
    }
}
