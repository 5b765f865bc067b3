//! A client that speaks TLS and believes in one authority.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;
use super::authority::Authority;
use super::http::{Connection, Response};

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// The name for which certificates are issued.
pub const NAME: &str = "localhost";

/// The client, which makes connections with a full handshake or a resumed one.
#[derive(Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// One that shows no certificate.
    pub fn trusting(authority: &Authority) -> TlsClient {
        TlsClient::of(authority, None)
    }

    /// One that shows this certificate and has its key, both in PEM.
    pub fn showing(authority: &Authority, identity: (String, String)) -> TlsClient {
        TlsClient::of(authority, Some(identity))
    }

    fn of(authority: &Authority, identity: Option<(String, String)>) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate =
                    CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                config.with_client_auth_cert(vec![certificate], key).expect("the key of the certificate")
            }
        };
        TlsClient(Arc::new(config))
    }

    /// What it knows, for clients of another making that shake hands in full each time.
    pub fn without_sessions(&self) -> Arc<ClientConfig> {
        let mut config = (*self.0).clone();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    /// A connection on which the handshake is done, as far as the client is concerned.
    pub fn connect(&self, address: SocketAddr) -> io::Result<Connection<TlsStream>> {
        self.connect_behind(b"", address)
    }

    /// The same behind bytes that stand before TLS.
    pub fn connect_behind(&self, before: &[u8], address: SocketAddr) -> io::Result<Connection<TlsStream>> {
        self.shake_hands(before, TcpStream::connect(address)?, PATIENCE)
    }

    /// A connection on which nothing, the handshake included, waits for longer than this.
    pub fn connect_within(
        &self,
        address: SocketAddr,
        patience: Duration,
    ) -> io::Result<Connection<TlsStream>> {
        self.shake_hands(b"", TcpStream::connect_timeout(&address, patience)?, patience)
    }

    fn shake_hands(
        &self,
        before: &[u8],
        mut stream: TcpStream,
        patience: Duration,
    ) -> io::Result<Connection<TlsStream>> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(before)?;
        let name = ServerName::try_from(NAME).expect("a name");
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Connection::of(StreamOwned::new(connection, stream)))
    }

    /// One GET on a connection of its own, with more headers, each with its line end.
    pub fn get(&self, address: SocketAddr, path_and_query: &str, headers: &str) -> io::Result<Response> {
        let mut connection = self.connect(address)?;
        connection.try_send(format!(
            "GET {path_and_query} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n"
        ))?;
        connection.try_receive()
    }
}

impl Connection<TlsStream> {
    /// The certificate that the peer shows.
    pub fn peer_certificate(&self) -> Vec<u8> {
        let shown = self.stream().conn.peer_certificates().and_then(<[_]>::first);
        shown.expect("a certificate").to_vec()
    }
}
