use bytes::Bytes;
use http_body_util::Either;
use hyper::body::Frame;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::http::response;

const HEADER: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);

fn connection() -> (Deadlines<DuplexStream>, Arc<Phase>, DuplexStream) {
    let (near, far) = duplex(16);
    let phase = Arc::new(Phase::new());
    (Deadlines::new(near, Arc::clone(&phase), limits(HEADER, None)), phase, far)
}

fn limits(header_timeout: Duration, answer_timeout: Option<Duration>) -> Limits {
    Limits {
        connections: 1,
        connections_of_a_peer: None,
        header_timeout,
        idle_timeout: IDLE,
        stall_timeout: IDLE,
        answer_timeout,
        head_bytes: 8192,
    }
}

async fn time_out(stream: &mut Deadlines<DuplexStream>) -> Duration {
    let from = Instant::now();
    let error = stream.read(&mut [0; 64]).await.expect_err("a time-out");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    from.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_nothing_is_cut_off() {
    let (mut stream, _phase, _far) = connection();
    assert_eq!(time_out(&mut stream).await.as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_head_in_drops_is_cut_off() {
    let (mut stream, _phase, mut far) = connection();
    let drops = async {
        while far.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    };
    let cut_off = async {
        let from = Instant::now();
        while stream.read(&mut [0; 64]).await.is_ok() {}
        from.elapsed()
    };
    tokio::select! {
        () = drops => panic!("the peer was served"),
        after = cut_off => assert_eq!(after.as_secs(), HEADER.as_secs()),
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_more_time_than_a_head() {
    let (mut stream, phase, mut far) = connection();
    far.write_all(b"head").await.expect("sent");
    stream.read_exact(&mut [0; 4]).await.expect("received");
    drop(phase.serving());
    stream.write_all(b"answer").await.expect("answered");
    assert_eq!(time_out(&mut stream).await.as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn serving_has_no_deadline_here() {
    let (mut stream, phase, mut far) = connection();
    far.write_all(b"head").await.expect("sent");
    stream.read_exact(&mut [0; 4]).await.expect("received");
    let _serving = phase.serving();
    let mut byte = [0; 1];
    let read = tokio::time::timeout(IDLE * 10, stream.read(&mut byte)).await;
    assert!(read.is_err(), "still waiting");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_cut_off() {
    let (mut stream, phase, _far) = connection();
    let _serving = phase.serving();
    let from = Instant::now();
    let error = stream.write_all(&[0; 1024]).await.expect_err("a time-out");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(from.elapsed().as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_has_a_deadline_for_what_is_taken_only() {
    for is_endless in [false, true] {
        let (near, mut far) = duplex(16);
        let phase = Arc::new(Phase::new());
        let (answer_timeout, lasts) = (Some(Duration::from_secs(30)), IDLE * 10);
        let mut stream = Deadlines::new(near, Arc::clone(&phase), limits(HEADER, answer_timeout));
        let _serving = phase.serving();
        if is_endless {
            phase.note_endless();
        }
        let from = Instant::now();
        // Whoever takes a second for each part takes it.
        let end = loop {
            let take = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                far.read_exact(&mut [0; 32]).await
            };
            let (written, taken) =
                tokio::join!(stream.write_all(&[0; 32]), async { tokio::time::timeout(IDLE, take).await });
            if written.is_err() || from.elapsed() >= lasts {
                break written;
            }
            taken.expect("in time").expect("a part");
        };
        assert_eq!((end.is_ok(), from.elapsed() >= lasts), (is_endless, is_endless));
        if is_endless {
            let from = Instant::now();
            let error = stream.write_all(&[0; 1_024]).await.expect_err("a time-out");
            assert_eq!((error.kind(), from.elapsed().as_secs()), (io::ErrorKind::TimedOut, IDLE.as_secs()));
        }
    }
}

/// Answers each request with a streamed body of this size until the connection ends.
async fn serve(stream: Deadlines<DuplexStream>, phase: Arc<Phase>, size: usize) -> hyper::Result<()> {
    let service = service_fn(move |_| {
        let phase = Arc::clone(&phase);
        async move {
            let serving = phase.serving();
            let chunks = (0..size).step_by(CHUNK).map(move |at| {
                let chunk = Bytes::from(vec![b'x'; CHUNK.min(size - at)]);
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(chunk))
            });
            let mut response = hyper::Response::new(response::streamed(Chunks(chunks)));
            if let Either::Right(streamed) = response.body_mut() {
                streamed.keep(serving);
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service).await
}

/// What a client gets of an answer of this size that is streamed to it, if it pauses in the middle.
async fn take_with_pause(size: usize, room: usize, pause: Duration, header_timeout: Duration) -> usize {
    let (near, mut far) = duplex(room);
    let phase = Arc::new(Phase::new());
    let stream = Deadlines::new(near, Arc::clone(&phase), limits(header_timeout, None));
    let connection = serve(stream, phase, size);
    let client = async move {
        far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("sent");
        tokio::time::sleep(pause).await;
        let mut answer = Vec::new();
        let _ = far.read_to_end(&mut answer).await;
        // Without the frames of the chunked encoding and the head, in which there is no x.
        answer.iter().filter(|byte| **byte == b'x').count()
    };
    tokio::join!(connection, client).1
}

const CHUNK: usize = 1_000;

/// A body of frames that are all at hand.
struct Chunks<I>(I);

impl<I: Iterator<Item = Result<Frame<Bytes>, E>> + Unpin, E> hyper::body::Body for Chunks<I> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        Poll::Ready(self.0.next())
    }
}

const ANSWER: Duration = Duration::from_secs(100);

/// A connection on which an answer of this size waits, with a limit for the whole of it.
fn answering(size: usize) -> (impl Future<Output = hyper::Result<()>>, DuplexStream) {
    let (near, far) = duplex(1_000);
    let phase = Arc::new(Phase::new());
    let stream = Deadlines::new(near, Arc::clone(&phase), limits(HEADER, Some(ANSWER)));
    (serve(stream, phase, size), far)
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_an_answer_in_drops_is_cut_off_even_at_its_last_byte() {
    // One that is streamed for long, and one of which hyper has all in its buffer at once.
    for size in [1_000_000, 3_000] {
        let (connection, mut far) = answering(size);
        far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        let drops = async {
            loop {
                far.read_exact(&mut [0; 1]).await.expect("a byte");
                tokio::time::sleep(IDLE - Duration::from_secs(10)).await;
            }
        };
        let from = Instant::now();
        tokio::select! {
            () = drops => panic!("it was served"),
            ended = connection => assert!(ended.is_err()),
        }
        assert_eq!(from.elapsed().as_secs(), ANSWER.as_secs(), "{size} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn each_answer_has_all_of_its_time() {
    let (connection, mut far) = answering(30_000);
    let client = async {
        for _ in 0..5 {
            far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
            let (begun, mut taken) = (Instant::now(), 0);
            while taken < 30_000 {
                // There is never more than this at hand.
                let mut part = [0; 1_000];
                let length = far.read(&mut part).await.expect("a part");
                taken += part[..length].iter().filter(|byte| **byte == b'x').count();
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            assert!(begun.elapsed() > ANSWER / 2 && begun.elapsed() < ANSWER);
            assert_eq!(taken, 30_000);
            tokio::time::sleep(IDLE / 2).await;
        }
    };
    tokio::select! {
        () = client => {}
        ended = connection => panic!("it was cut off: {ended:?}"),
    }
}

proptest! {
    /// A client that takes its answer within the idle timeout gets all of it, however much of it waits when the service is
    /// done, and however long ago the deadline of the request's head was.
    #[test]
    fn a_slow_client_gets_the_last_byte_of_an_answer(
        size in 0usize..20_000,
        room in 64usize..20_000,
        pause in 0u64..59,
        header_timeout in 1u64..20,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let (pause, header_timeout) = (Duration::from_secs(pause), Duration::from_secs(header_timeout));
        let taken = runtime.expect("a runtime").block_on(take_with_pause(size, room, pause, header_timeout));
        prop_assert_eq!(taken, size);
    }
}
