//! A way to a server that takes its time, as between machines: what is on its way when a connection closes is more than
//! it would be within one machine.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Listens at the address that it answers, and carries everything to `server` and back, each way with this delay. It does so
/// until the process ends.
pub fn start(server: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A server that is not there is a connection that is closed at once.
            let Ok(server) = TcpStream::connect(server) else { continue };
            let handles = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
            thread::spawn(move || carry(client, server, delay));
            thread::spawn(move || carry(handles.1, handles.0, delay));
        }
    });
    address
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let _ = to.set_nodelay(true);
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).unwrap_or(0);
        thread::sleep(delay);
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            // Whoever has closed already does not mind.
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}
