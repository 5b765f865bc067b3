//! How honest clients reach the ports: in plain HTTP, or over TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::support::http::{Connection, Response};
use crate::support::tls_client::{TlsClient, TlsStream};

/// What is spoken below HTTP.
#[derive(Clone)]
pub enum Wire {
    Plain,
    Tls(TlsClient),
}

/// An open connection.
pub enum Line {
    Plain(Connection),
    Tls(Box<Connection<TlsStream>>),
}

impl Wire {
    /// A connection on which nothing may take longer than this.
    pub fn open(&self, address: SocketAddr, patience: Duration) -> io::Result<Line> {
        match self {
            Wire::Plain => Connection::try_open_within(address, patience).map(Line::Plain),
            Wire::Tls(client) => client.connect_within(address, patience).map(Box::new).map(Line::Tls),
        }
    }

    /// The answer to one GET.
    pub fn get(&self, address: SocketAddr, path: &str, patience: Duration) -> io::Result<Response> {
        let mut line = self.open(address, patience)?;
        line.try_send(&format!("GET {path} HTTP/1.1\r\nhost: honest\r\nconnection: close\r\n\r\n"))?;
        line.try_receive()
    }

    /// What hostile clients need to shake hands, each time in full.
    pub fn full_handshakes(&self) -> Option<Arc<ClientConfig>> {
        match self {
            Wire::Plain => None,
            Wire::Tls(client) => Some(client.without_sessions()),
        }
    }
}

impl Line {
    pub fn try_send(&mut self, request: &str) -> io::Result<()> {
        match self {
            Line::Plain(connection) => connection.try_send(request),
            Line::Tls(connection) => connection.try_send(request),
        }
    }

    pub fn try_receive(&mut self) -> io::Result<Response> {
        match self {
            Line::Plain(connection) => connection.try_receive(),
            Line::Tls(connection) => connection.try_receive(),
        }
    }
}
