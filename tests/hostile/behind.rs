//! A service behind the exporter that answers well until it turns bad, and well again later.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The path of an answer that is larger than what a connection holds.
pub const LARGE: &str = "/large";

/// How a service is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    Refuses,
    HangsAtConnect,
    HangsBeforeTheHead,
    HangsInTheHead,
    HangsInTheBody,
    SendsSlowly,
    Resets,
    ResetsInTheBody,
    PromisesTooMuch,
    PromisesTooLittle,
    SendsGarbage,
    SendsAnEndlessHead,
    SendsALargeBody,
    ClosesAfterEach,
}

impl Misdeed {
    pub const ALL: [(Misdeed, &str); 14] = [
        (Misdeed::Refuses, "refuses"),
        (Misdeed::HangsAtConnect, "hangs at connect"),
        (Misdeed::HangsBeforeTheHead, "hangs before the head"),
        (Misdeed::HangsInTheHead, "hangs in the head"),
        (Misdeed::HangsInTheBody, "hangs in the body"),
        (Misdeed::SendsSlowly, "sends slowly"),
        (Misdeed::Resets, "resets"),
        (Misdeed::ResetsInTheBody, "resets in the body"),
        (Misdeed::PromisesTooMuch, "promises more than it sends"),
        (Misdeed::PromisesTooLittle, "sends more than it promises"),
        (Misdeed::SendsGarbage, "sends garbage"),
        (Misdeed::SendsAnEndlessHead, "sends an endless head"),
        (Misdeed::SendsALargeBody, "sends a large body"),
        (Misdeed::ClosesAfterEach, "closes after each answer"),
    ];
}

/// A running service.
#[derive(Debug)]
pub struct Behind {
    pub address: SocketAddr,
    mood: watch::Sender<Option<Misdeed>>,
    thread: Option<JoinHandle<()>>,
}

impl Behind {
    /// A service that answers 200 to everything, at this address.
    pub fn start_at(address: SocketAddr) -> Behind {
        let (mood, moods) = watch::channel(None);
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(address, moods)).expect("a port");
        });
        Behind { address, mood, thread: Some(thread) }
    }

    /// Turns bad, or good again. Every connection ends.
    pub fn turn(&self, mood: Option<Misdeed>) {
        self.mood.send_replace(mood);
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        // Without a sender nobody waits for the next mood any more, and the service ends.
        drop(std::mem::replace(&mut self.mood, watch::channel(None).0));
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was printed.
            let _ = thread.join();
        }
    }
}

async fn serve(address: SocketAddr, mut moods: watch::Receiver<Option<Misdeed>>) -> io::Result<()> {
    loop {
        let mood = *moods.borrow_and_update();
        let changed = moods.changed();
        let is_over = match mood {
            Some(Misdeed::Refuses) => changed.await.is_err(),
            _ => {
                let socket = TcpSocket::new_v4()?;
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                // Nobody is to wait for a place in the queue, but where that is the misdeed.
                let queue = if mood == Some(Misdeed::HangsAtConnect) { 16 } else { 4_096 };
                let listener = socket.listen(queue)?;
                tokio::select! {
                    changed = changed => changed.is_err(),
                    () = accept(&listener, mood) => false,
                }
            }
        };
        if is_over {
            return Ok(());
        }
    }
}

/// Accepts and serves; every connection ends with it.
async fn accept(listener: &TcpListener, mood: Option<Misdeed>) {
    let mut connections = JoinSet::new();
    if mood == Some(Misdeed::HangsAtConnect) {
        // Who waits to be accepted fills the queue, and the next one is not even connected.
        let mut waiting = Vec::new();
        if let Ok(address) = listener.local_addr() {
            while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await
            {
                waiting.push(stream);
            }
        }
        std::future::pending::<()>().await;
    }
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(async move {
                    match mood {
                        None => answer_well(stream).await,
                        // It ends badly, as it is meant to.
                        Some(misdeed) => drop(misbehave(stream, misdeed).await),
                    }
                });
            }
        }
    }
}

async fn answer_well(stream: TcpStream) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let is_large = request.uri().path() == LARGE;
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        let body = if is_large { Bytes::from(vec![b'x'; 1024 * 1024]) } else { Bytes::new() };
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The other end may break it.
    let _ = connection.await;
}

async fn misbehave(mut stream: TcpStream, misdeed: Misdeed) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        match misdeed {
            // These two are seen to where connections are accepted.
            Misdeed::Refuses | Misdeed::HangsAtConnect => return Ok(()),
            Misdeed::HangsBeforeTheHead => return hang(stream, b"").await,
            Misdeed::HangsInTheHead => return hang(stream, b"HTTP/1.1 200 O").await,
            Misdeed::HangsInTheBody => {
                return hang(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbeginning").await;
            }
            Misdeed::SendsSlowly => {
                for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow" {
                    stream.write_all(&[*byte]).await?;
                    sleep(Duration::from_millis(20)).await;
                }
            }
            Misdeed::Resets => return stream.set_zero_linger(),
            Misdeed::ResetsInTheBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbeginning").await?;
                sleep(Duration::from_millis(10)).await;
                return stream.set_zero_linger();
            }
            Misdeed::PromisesTooMuch => {
                return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nall").await;
            }
            Misdeed::PromisesTooLittle => {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nallHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await?;
            }
            Misdeed::SendsGarbage => {
                let garbage: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(10_000).collect();
                return stream.write_all(&garbage).await;
            }
            Misdeed::SendsAnEndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                for number in 0.. {
                    stream.write_all(format!("x-{number}: {}\r\n", "x".repeat(1_000)).as_bytes()).await?;
                }
            }
            Misdeed::SendsALargeBody => {
                let body = vec![b'x'; 4 * 1024 * 1024];
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await?;
            }
            Misdeed::ClosesAfterEach => {
                return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    }
}

/// Sends this and then nothing, until the other end goes.
async fn hang(mut stream: TcpStream, beginning: &[u8]) -> io::Result<()> {
    stream.write_all(beginning).await?;
    while stream.read(&mut [0; 1_000]).await? > 0 {}
    Ok(())
}
