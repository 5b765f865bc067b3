//! Hostile clients. They share one thread, so that they leave the other core to the exporter and to honest clients, and
//! come from many addresses of this host, so that no limit for one peer turns them away.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::support::tls_client::NAME;

/// Which port is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    CallEvents,
    Admin,
}

impl Port {
    pub const BOTH: [Port; 2] = [Port::CallEvents, Port::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Port::CallEvents => "call events",
            Port::Admin => "admin port",
        }
    }
}

/// What hostile bytes are sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The connection as it is.
    Tcp,
    /// TLS, with a full handshake each time.
    Tls,
    /// The connection below TLS, once the handshake is done.
    BelowTls,
}

/// What a hostile client does on a connection. When that has ended, it comes again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Sends, and stays until the exporter closes.
    Stays,
    /// Sends, and goes as soon as a first part of an answer has come.
    Goes,
    /// Sends, and resets the connection at once.
    Resets,
    /// Sends one byte after another.
    Drips,
    /// Sends a head at once, and one byte of the body after another.
    DripsTheBody,
    /// Sends, and takes nothing of what comes.
    IsDeaf,
    /// Sends, and takes what comes one byte after another.
    Sips,
    /// Sends again and again, and takes what comes.
    GoesOn,
    /// Over TLS, changes its keys again and again, and takes what comes.
    ChangesKeys,
}

/// What a client sends; each time with another number.
pub type Bytes = Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>;

/// Hostile clients that all do the same.
#[derive(Clone)]
pub struct Crowd {
    pub port: Port,
    pub clients: usize,
    pub layer: Layer,
    pub manner: Manner,
    pub bytes: Bytes,
}

/// From one byte to the next of a client that is slow.
const DRIP: Duration = Duration::from_millis(50);

/// A crowd at work.
#[derive(Debug)]
pub struct AtWork {
    is_over: CancellationToken,
    times: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Attacks this address, over TLS with what a client of its knows, and answers when it has begun.
    pub fn attack(&self, address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> AtWork {
        let (is_over, times) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (crowd, token, counted) = (self.clone(), is_over.clone(), Arc::clone(&times));
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            for number in 0..crowd.clients {
                let (crowd, tls, times) = (crowd.clone(), tls.clone(), Arc::clone(&counted));
                let client = Client { crowd, address, tls, number, times };
                runtime.spawn(client.come_again_and_again());
            }
            runtime.block_on(token.cancelled());
            // All connections end with the runtime.
        });
        let began = Instant::now();
        while times.load(Ordering::Relaxed) < self.clients && began.elapsed() < Duration::from_secs(2) {
            thread::sleep(Duration::from_millis(5));
        }
        AtWork { is_over, times, thread: Some(thread) }
    }
}

impl AtWork {
    /// Ends it, and answers how often its clients sent what they send.
    pub fn over(mut self) -> usize {
        self.is_over.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
        self.times.load(Ordering::Relaxed)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.is_over.cancel();
    }
}

struct Client {
    crowd: Crowd,
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    number: usize,
    times: Arc<AtomicUsize>,
}

impl Client {
    async fn come_again_and_again(self) {
        // All at once they would overflow the queue of the listener, and who says nothing would be in it only seconds later.
        sleep(Duration::from_micros(500) * self.number as u32).await;
        loop {
            // It is expected that the exporter ends it; a pause only where connecting itself fails.
            match timeout(Duration::from_secs(2), self.connect()).await {
                Ok(Ok(stream)) => {
                    let _ = self.begin(stream).await;
                }
                _ => sleep(Duration::from_millis(10)).await,
            }
            // Others of the crowd have their turn, whatever does not wait.
            tokio::task::yield_now().await;
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if matches!(self.crowd.manner, Manner::IsDeaf | Manner::Sips) {
            socket.set_recv_buffer_size(4 * 1024)?;
        }
        let last = 2 + (self.number % 200) as u8;
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        if self.crowd.manner == Manner::Resets {
            stream.set_zero_linger()?;
        }
        Ok(stream)
    }

    async fn begin(&self, stream: TcpStream) -> io::Result<()> {
        match self.crowd.layer {
            Layer::Tcp => self.stay(stream).await,
            Layer::Tls if self.crowd.manner == Manner::ChangesKeys => {
                change_keys(self.shake_hands(stream).await?).await
            }
            Layer::Tls => self.stay(self.shake_hands(stream).await?).await,
            Layer::BelowTls => self.stay(self.shake_hands(stream).await?.into_inner().0).await,
        }
    }

    /// The whole handshake, which counts as one time.
    async fn shake_hands(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let tls = self.tls.clone().expect("an exporter that speaks TLS");
        let name = ServerName::try_from(NAME).expect("a name");
        let stream = TlsConnector::from(tls).connect(name, stream).await?;
        self.times.fetch_add(usize::from(self.crowd.manner == Manner::ChangesKeys), Ordering::Relaxed);
        Ok(stream)
    }

    fn bytes(&self) -> Vec<u8> {
        (self.crowd.bytes)(self.times.fetch_add(1, Ordering::Relaxed))
    }

    async fn stay(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let bytes = self.bytes();
        match self.crowd.manner {
            Manner::Stays => {
                let (mut from, mut to) = split(stream);
                // An answer may come before all is sent.
                let send = async {
                    to.write_all(&bytes).await?;
                    to.flush().await
                };
                let (sent, received) = tokio::join!(send, take_all(&mut from));
                sent.and(received)
            }
            Manner::Goes => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                stream.read(&mut [0; 1_000]).await.map(drop)
            }
            Manner::Resets => {
                stream.write_all(&bytes).await?;
                stream.flush().await
            }
            Manner::Drips | Manner::DripsTheBody => {
                let head = match self.crowd.manner {
                    Manner::DripsTheBody => {
                        bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4)
                    }
                    _ => 0,
                };
                let (mut from, mut to) = split(stream);
                let drip = async {
                    to.write_all(&bytes[..head]).await?;
                    for byte in &bytes[head..] {
                        to.write_all(&[*byte]).await?;
                        to.flush().await?;
                        sleep(DRIP).await;
                    }
                    Ok(())
                };
                let (sent, received) = tokio::join!(drip, take_all(&mut from));
                sent.and(received)
            }
            Manner::IsDeaf => {
                stream.write_all(&bytes).await?;
                loop {
                    // Nothing between two requests; it shows when the exporter has closed.
                    sleep(20 * DRIP).await;
                    stream.write_all(b"\r\n").await?;
                }
            }
            Manner::Sips => {
                let (mut from, mut to) = split(stream);
                let sip = async {
                    while from.read(&mut [0]).await? > 0 {
                        sleep(DRIP).await;
                    }
                    Ok(())
                };
                let (sent, received) = tokio::join!(to.write_all(&bytes), sip);
                sent.and(received)
            }
            Manner::GoesOn | Manner::ChangesKeys => {
                let (mut from, mut to) = split(stream);
                let flood = async {
                    to.write_all(&bytes).await?;
                    loop {
                        to.write_all(&self.bytes()).await?;
                        // A small answer leaves it always ready to send.
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    sent = flood => sent,
                    received = take_all(&mut from) => received,
                }
            }
        }
    }
}

/// Asks for other keys as fast as it can: each time both ends derive new ones.
async fn change_keys(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    loop {
        for _ in 0..32 {
            stream.get_mut().1.refresh_traffic_keys().map_err(io::Error::other)?;
        }
        stream.flush().await?;
        let mut came = [0; 1_000];
        // Its own changes come back.
        if let Ok(read) = timeout(Duration::from_millis(1), stream.read(&mut came)).await
            && read? == 0
        {
            return Ok(());
        }
    }
}

/// Takes what comes until the other end closes.
async fn take_all(from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    copy(from, &mut sink()).await.map(drop)
}
