//! A service behind the exporter: answers as a test says, and keeps what came.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// The request target as text.
    pub target: String,
    /// The request target, byte for byte: everything between the first and the last space of the request line.
    pub raw_target: Vec<u8>,
    /// Names in lower case, in the order of the request.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The number of the connection that it came on.
    pub connection: usize,
    /// How many came before it on its connection.
    pub position: usize,
}

impl Request {
    /// The value of a header, which is named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The sid in the query, with its dashes whether or not they came percent-encoded.
    pub fn sid(&self) -> String {
        let sid = self.target.split(['?', '&']).find_map(|pair| pair.strip_prefix("sid="));
        sid.unwrap_or_else(|| panic!("no sid in {}", self.target)).replace("%2D", "-")
    }

    /// The 32 hexadecimal digits by which the exporter knows the call, from the key that it sends along.
    pub fn trace_id(&self) -> String {
        let key = self.header("idempotency-key").expect("an idempotency key");
        key.trim_matches('"').replace('-', "")
    }
}

/// What a request gets.
pub enum Answer {
    /// This status, these header lines, this body.
    Send(u16, &'static str, Vec<u8>),
    /// The same as `Send`, after a while.
    SendAfter(Duration, u16),
    /// These bytes, and the next ones when the test says so; then the connection is closed.
    Pieces(&'static [&'static str], Arc<AtomicBool>),
    /// No answer; the connection is closed.
    HangUp,
}

impl Answer {
    pub fn status(status: u16) -> Answer {
        Answer::Send(status, "", Vec::new())
    }
}

/// A connection on which a request begins to arrive.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// How many came before it.
    pub position: usize,
    /// How long the connection has been idle.
    pub idle: Duration,
}

type Behaviour = Box<dyn Fn(&Request) -> Answer + Send + Sync>;
type Closing = Box<dyn Fn(Arrival) -> bool + Send + Sync>;

/// A running service.
pub struct Service {
    pub address: SocketAddr,
    state: Arc<State>,
    listener: Option<thread::JoinHandle<()>>,
}

struct State {
    behaviour: Mutex<Arc<Behaviour>>,
    closing: Mutex<Arc<Closing>>,
    closed: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    /// Handles on those that are open, by their numbers.
    connections: Mutex<BTreeMap<usize, TcpStream>>,
    is_stopped: AtomicBool,
}

impl Service {
    /// A service that answers 200.
    pub fn start() -> Service {
        Service::start_at("127.0.0.1:0".parse().expect("an address"))
    }

    /// A service at this address, where another one may have been until now.
    pub fn start_at(address: SocketAddr) -> Service {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("an address");
        let behaviour: Behaviour = Box::new(|_| Answer::status(200));
        let closing: Closing = Box::new(|_| false);
        let state = Arc::new(State {
            behaviour: Mutex::new(Arc::new(behaviour)),
            closing: Mutex::new(Arc::new(closing)),
            closed: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            requests: Mutex::default(),
            connections: Mutex::default(),
            is_stopped: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let accept = thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                if state.is_stopped.load(Ordering::SeqCst) {
                    break;
                }
                let state = Arc::clone(&state);
                let handle = stream.try_clone().expect("a handle");
                state.connections.lock().expect("no panic").insert(number, handle);
                thread::spawn(move || {
                    state.open.fetch_add(1, Ordering::SeqCst);
                    // How a connection ends is up to the other end.
                    let _ = serve(stream, number, &state);
                    // The last handle, so that it closes.
                    state.connections.lock().expect("no panic").remove(&number);
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Service { address, state: shared, listener: Some(accept) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how the service answers.
    pub fn answer(&self, behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.state.behaviour.lock().expect("no panic") = Arc::new(Box::new(behaviour));
    }

    /// Closes a connection where this says so, as the first byte of a request arrives on it: the service has not seen
    /// the request.
    pub fn close_where(&self, closing: impl Fn(Arrival) -> bool + Send + Sync + 'static) {
        *self.state.closing.lock().expect("no panic") = Arc::new(Box::new(closing));
    }

    /// How many connections were closed like that.
    pub fn closed(&self) -> usize {
        self.state.closed.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// What came until now.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().expect("no panic").clone()
    }
}

impl Drop for Service {
    /// Stops listening and cuts every connection.
    fn drop(&mut self) {
        self.state.is_stopped.store(true, Ordering::SeqCst);
        // Wakes up who waits for the next connection. If that fails, nobody listens any more.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            // If it panicked, the test has failed by now.
            let _ = listener.join();
        }
        for connection in self.state.connections.lock().expect("no panic").values() {
            // It may be gone already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// Serves a connection until the other end closes it.
fn serve(stream: TcpStream, number: usize, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut idle_since = Instant::now();
    for position in 0.. {
        // Looked at without being read, so that closing says that it was not.
        if stream.get_ref().peek(&mut [0])? == 0 {
            return Ok(());
        }
        let closing = Arc::clone(&state.closing.lock().expect("no panic"));
        if closing(Arrival { position, idle: idle_since.elapsed() }) {
            state.closed.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        let request = read_request(&mut stream, number, position)?;
        let behaviour = Arc::clone(&state.behaviour.lock().expect("no panic"));
        let is_head = request.method == "HEAD";
        let answer = behaviour(&request);
        state.requests.lock().expect("no panic").push(request);
        let (status, headers, body) = match answer {
            Answer::Send(status, headers, body) => (status, headers, body),
            Answer::SendAfter(pause, status) => {
                thread::sleep(pause);
                (status, "", Vec::new())
            }
            Answer::Pieces(pieces, go_on) => {
                for piece in pieces {
                    stream.get_mut().write_all(piece.as_bytes())?;
                    while !go_on.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
                return stream.get_mut().shutdown(Shutdown::Both);
            }
            Answer::HangUp => return stream.get_mut().shutdown(Shutdown::Both),
        };
        let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        stream.get_mut().write_all(head.as_bytes())?;
        if !is_head {
            stream.get_mut().write_all(&body)?;
        }
        idle_since = Instant::now();
    }
    Ok(())
}

fn read_request(stream: &mut impl BufRead, connection: usize, position: usize) -> io::Result<Request> {
    let mut line = || {
        let mut line = Vec::new();
        match stream.read_until(b'\n', &mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line),
        }
    };
    // A request target and a header field may have any bytes.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let request_line = line()?;
    let mut spaces = (0..request_line.len()).filter(|at| request_line[*at] == b' ');
    let first = spaces.next().ok_or_else(|| io::Error::other("no request line"))?;
    let last = spaces.next_back().ok_or_else(|| io::Error::other("no version"))?;
    let (method, raw_target) = (text(&request_line[..first]), request_line[first + 1..last].to_vec());
    let mut headers = Vec::new();
    while let Some((name, value)) = text(&line()?).split_once(':') {
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let target = text(&raw_target);
    let mut request = Request { method, target, raw_target, headers, body: Vec::new(), connection, position };
    if request.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk)?;
            request.body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = request.header("content-length").and_then(|length| length.parse().ok()) {
        request.body = vec![0; length];
        stream.read_exact(&mut request.body)?;
    }
    Ok(request)
}
