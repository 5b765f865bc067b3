//! Metrics pages on their way to those who asked for them.
//!
//! With many series a page takes megabytes until its reader has taken it, and a while to be made. So everybody who
//! asked before the making of a page began and is to be shown the same gets the same one, and few are kept. For a
//! further one the oldest is given up, and those who have not taken it yet see their answer break off. Nobody waits for
//! a reader that is slow, or for any number of them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::task::{JoinError, spawn_blocking};

use crate::state::readers::Births;

/// Pages that are kept at once.
const MOST_PAGES: usize = 4;

/// Bytes of a page that a connection is given at once.
const CHUNK: usize = 16 * 1024;

/// A page was given up before its reader had taken it.
#[derive(Debug, Error)]
#[error("its reader was too slow")]
pub(super) struct TooSlow;

/// A page in one form: how it is made, and the latest.
pub(super) struct Pages {
    make: Arc<Make>,
    kept: Arc<Kept>,
    /// How many were begun.
    begun: AtomicU64,
    /// The latest that was made. Held while one is made.
    latest: Arc<tokio::sync::Mutex<Latest>>,
}

/// Makes a page for who was shown these births, and says which there are on it.
type Make = dyn Fn(Births) -> (Vec<u8>, Births) + Send + Sync;

/// The page that was made last.
#[derive(Default)]
struct Latest {
    number: u64,
    /// For whom it was made.
    shown: Option<Births>,
    page: Weak<Page>,
}

impl Pages {
    /// Pages that `make` makes and that are kept in `kept`.
    pub(super) fn new(
        kept: &Arc<Kept>,
        make: impl Fn(Births) -> (Vec<u8>, Births) + Send + Sync + 'static,
    ) -> Pages {
        let latest = Arc::default();
        Pages { make: Arc::new(make), kept: Arc::clone(kept), begun: AtomicU64::new(0), latest }
    }

    /// A page that shows what there is now to who was shown these births.
    ///
    /// # Errors
    /// Its making panicked.
    pub(super) async fn page(&self, shown: Births) -> Result<PageBody, JoinError> {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let mut latest = Arc::clone(&self.latest).lock_owned().await;
        if latest.number >= wanted
            && latest.shown == Some(shown)
            && let Some(page) = latest.page.upgrade()
        {
            return Ok(PageBody::new(page));
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let (make, kept) = (Arc::clone(&self.make), Arc::clone(&self.kept));
        // On its own, so that it is not made once more if whoever asked has gone away.
        let made = tokio::spawn(async move {
            let (bytes, births) = spawn_blocking(move || make(shown)).await?;
            let page = kept.keep(bytes, births);
            *latest = Latest { number, shown: Some(shown), page: Arc::downgrade(&page) };
            Ok(PageBody::new(page))
        });
        made.await?
    }
}

/// The pages that are on their way, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<VecDeque<Weak<Page>>>);

impl Kept {
    fn keep(&self, bytes: Vec<u8>, births: Births) -> Arc<Page> {
        let page = Arc::new(Page { length: bytes.len(), births, bytes: Mutex::new(Some(bytes.into())) });
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|page| page.strong_count() > 0);
        pages.push_back(Arc::downgrade(&page));
        if pages.len() > MOST_PAGES
            && let Some(oldest) = pages.pop_front().and_then(|oldest| oldest.upgrade())
        {
            *oldest.bytes() = None;
        }
        page
    }
}

#[derive(Debug)]
struct Page {
    length: usize,
    /// The latest births on it.
    births: Births,
    /// `None` when it was given up.
    bytes: Mutex<Option<Bytes>>,
}

impl Page {
    fn bytes(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A page as the body of an answer.
pub(super) struct PageBody {
    page: Arc<Page>,
    /// How much of it was taken.
    taken: usize,
    /// Who wants to know when all of it was.
    at_end: Option<Box<AtEnd>>,
}

/// What is told which births there were on a page that was taken to its end.
type AtEnd = dyn FnOnce(Births) + Send + Sync;

impl PageBody {
    fn new(page: Arc<Page>) -> PageBody {
        PageBody { page, taken: 0, at_end: None }
    }

    /// Tells when the page was taken to its end.
    pub(super) fn at_end(self, at_end: impl FnOnce(Births) + Send + Sync + 'static) -> PageBody {
        PageBody { at_end: Some(Box::new(at_end)), ..self }
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let (start, end) = (self.taken, self.page.length.min(self.taken + CHUNK));
        if start == end {
            return Poll::Ready(None);
        }
        // A copy: a slice would keep the whole page.
        let chunk = self.page.bytes().as_ref().map(|bytes| Bytes::copy_from_slice(&bytes[start..end]));
        self.taken = end;
        if end == self.page.length
            && chunk.is_some()
            && let Some(at_end) = self.at_end.take()
        {
            at_end(self.page.births);
        }
        Poll::Ready(Some(chunk.map(Frame::data).ok_or_else(|| TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.taken == self.page.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.page.length - self.taken) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::channel;

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_oldest_page_is_given_up_for_a_further_one() {
        let page = || vec![b'x'; 10 * CHUNK + 1];
        let pages = Pages::new(&Arc::default(), move |shown| (page(), shown));
        let mut slow = Vec::new();
        for _ in 0..=MOST_PAGES {
            let mut body = pages.page(Births::ANY).await.expect("a page");
            assert_eq!(body.size_hint().exact(), Some(page().len() as u64));
            body.frame().await.expect("a part").expect("the first one");
            slow.push(body);
        }
        assert!(slow.remove(0).collect().await.is_err());
        for body in slow {
            let rest = body.collect().await.expect("the rest").to_bytes();
            assert_eq!(rest, page()[CHUNK..]);
        }
        // Those that were taken are not kept.
        let latest = pages.page(Births::ANY).await.expect("a page");
        assert_eq!(latest.collect().await.expect("a page").to_bytes(), page());
    }

    #[tokio::test]
    async fn who_asks_before_a_page_is_begun_gets_it_and_who_asks_later_gets_the_next() {
        let made = Arc::new(AtomicUsize::new(0));
        let (counted, (go_on, waits)) = (Arc::clone(&made), channel::<()>());
        let waits = Mutex::new(waits);
        let pages = Pages::new(&Arc::default(), move |shown| {
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            waits.lock().expect("no panic").recv().expect("a test that goes on");
            (number.to_string().into_bytes(), shown)
        });
        let text = async || {
            pages.page(Births::ANY).await.expect("a page").collect().await.expect("bytes").to_bytes()
        };
        let told = async {
            while made.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            let told = async {
                go_on.send(()).expect("it waits");
                go_on.send(()).expect("it waits");
            };
            // They ask while the first is made.
            let held = async {
                tokio::join!(pages.page(Births::ANY), pages.page(Births::ANY), pages.page(Births::ANY))
            };
            let ((one, two, three), ()) = tokio::join!(biased; held, told);
            [one, two, three].map(|page| page.expect("a page"))
        };
        let (first, others) = tokio::join!(biased; text(), told);
        assert_eq!(first, "1");
        for other in others {
            assert_eq!(other.collect().await.expect("bytes").to_bytes(), "2");
        }
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }
}
