//! What stands in front of the exporter and speaks TLS: each request goes on to the exporter, as an ingress has it. Its
//! certificate may change while it runs.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A certificate and its key, in PEM.
type Identity = (String, String);

/// A running front. It ends with the test's process.
pub struct TlsFront {
    pub address: SocketAddr,
    identity: Arc<CurrentIdentity>,
}

struct CurrentIdentity(Mutex<Arc<CertifiedKey>>);

impl fmt::Debug for CurrentIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CurrentIdentity")
    }
}

impl ResolvesServerCert for CurrentIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().expect("no panic")))
    }
}

impl TlsFront {
    /// One before `exporter`, which keeps sessions for clients that come again, as servers do.
    pub fn start(exporter: SocketAddr, identity: Identity) -> TlsFront {
        let identity = Arc::new(CurrentIdentity(Mutex::new(certified(identity))));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        let config = Arc::new(config);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                // How a connection ends is up to the other ends.
                thread::spawn(move || serve(client, config, exporter));
            }
        });
        TlsFront { address, identity }
    }

    /// Shows another certificate from now on.
    pub fn show(&self, identity: Identity) {
        *self.identity.0.lock().expect("no panic") = certified(identity);
    }
}

fn certified((certificate, key): Identity) -> Arc<CertifiedKey> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let key = ring::sign::any_supported_type(&key).expect("a key to sign with");
    Arc::new(CertifiedKey::new(vec![certificate], key))
}

/// Carries a request, which has no body, to the exporter, and its answer back.
fn serve(client: TcpStream, config: Arc<ServerConfig>, exporter: SocketAddr) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut client = StreamOwned::new(connection, client);
    let (mut head, mut bytes) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut bytes)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&bytes[..read]),
        }
    }
    let mut exporter = TcpStream::connect(exporter)?;
    exporter.write_all(&head)?;
    let mut answer = Vec::new();
    // The canary asks for the end of the connection.
    exporter.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.flush()
}
