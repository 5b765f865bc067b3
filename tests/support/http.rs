//! A tiny HTTP/1.1 client that sends exactly the bytes it is given and shows exactly the answer that comes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;

use super::PATIENCE;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order of the answer.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, which is named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body in UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }
}

/// An open connection. Reading and writing fail when patience is over, so that no test hangs.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: BufReader<S>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Connection {
        Connection::try_open(address).expect("a connection")
    }

    pub fn try_open(address: SocketAddr) -> io::Result<Connection> {
        Connection::over(TcpStream::connect(address)?)
    }

    /// Opens a connection on which nothing, its opening included, may take longer than `patience`.
    pub fn try_open_within(address: SocketAddr, patience: Duration) -> io::Result<Connection> {
        let connection = Connection::over(TcpStream::connect_timeout(&address, patience)?)?;
        let stream = connection.stream.get_ref();
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(connection)
    }

    /// Opens a connection from another address of this host.
    pub fn open_from(source: IpAddr, address: SocketAddr) -> Connection {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let open = async {
            let socket = match source {
                IpAddr::V4(_) => TcpSocket::new_v4()?,
                IpAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.bind((source, 0).into())?;
            socket.connect(address).await?.into_std()
        };
        let stream = runtime.block_on(open).expect("a connection");
        stream.set_nonblocking(false).and_then(|()| Connection::over(stream)).expect("a connection")
    }

    fn over(stream: TcpStream) -> io::Result<Connection> {
        // Each write is to leave as a segment of its own.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// A second handle on the connection, so that one thread can write while another reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.get_ref().try_clone().expect("a second handle")
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&self) {
        self.stream.get_ref().shutdown(std::net::Shutdown::Write).expect("a half-closed connection");
    }
}

impl<S: Read + Write> Connection<S> {
    /// One on this stream.
    pub fn of(stream: S) -> Connection<S> {
        Connection { stream: BufReader::new(stream) }
    }

    /// What it is on.
    pub fn stream(&self) -> &S {
        self.stream.get_ref()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("bytes that can be sent");
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    pub fn get(&mut self, path_and_query: &str) -> Response {
        self.send(format!("GET {path_and_query} HTTP/1.1\r\nhost: test\r\n\r\n"));
        self.receive()
    }

    pub fn receive(&mut self) -> Response {
        self.try_receive().expect("an answer")
    }

    pub fn try_receive(&mut self) -> io::Result<Response> {
        let mut response = self.try_receive_head()?;
        response.body = match (response.header("transfer-encoding"), response.header("content-length")) {
            (Some("chunked"), _) => self.receive_chunks()?,
            (_, Some(length)) => {
                let mut body = vec![0; length.parse().map_err(io::Error::other)?];
                self.stream.read_exact(&mut body)?;
                body
            }
            _ => Vec::new(),
        };
        Ok(response)
    }

    /// Receives an answer that has no body, whatever its headers say, as one to HEAD.
    pub fn receive_head(&mut self) -> Response {
        self.try_receive_head().expect("an answer")
    }

    /// Fills `bytes` with what comes next, whatever it is.
    pub fn receive_exactly(&mut self, bytes: &mut [u8]) {
        self.stream.read_exact(bytes).expect("as many bytes");
    }

    fn try_receive_head(&mut self) -> io::Result<Response> {
        let status_line = self.receive_line()?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status =
            status.ok_or_else(|| io::Error::other(format!("no status line of HTTP: {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.receive_line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Response { status, headers, body: Vec::new() })
    }

    fn receive_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.receive_line()?, 16).map_err(io::Error::other)?;
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..])?;
            self.receive_line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn receive_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    /// The next chunk of an answer that is streamed; empty at its end.
    pub fn receive_chunk(&mut self) -> Vec<u8> {
        let size = self.receive_line().expect("the size of a chunk");
        let mut chunk = vec![0; usize::from_str_radix(&size, 16).expect("a size")];
        self.receive_exactly(&mut chunk);
        self.receive_line().expect("the end of a chunk");
        chunk
    }

    /// Waits until the peer closes, and shows what it still sent. A reset is a close, too.
    ///
    /// Panics when patience is over.
    pub fn receive_until_closed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the peer does not close: {error}"),
        }
        bytes
    }
}

/// One GET on a connection of its own.
pub fn get(address: SocketAddr, path_and_query: &str) -> Response {
    request(address, "GET", path_and_query, &[])
}

/// One request without a body on a connection of its own.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    try_request(address, method, path, headers).expect("an answer")
}

/// One request without a body on a connection of its own, which may fail.
pub fn try_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Response> {
    let mut connection = Connection::try_open(address)?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    connection.try_send(format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"
    ))?;
    match method {
        "HEAD" => connection.try_receive_head(),
        _ => connection.try_receive(),
    }
}
