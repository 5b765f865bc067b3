//! The end of a connection whose peer may still be sending.
//!
//! Closing with unread data makes the kernel reset the connection. Then the peer may lose an answer that it has not
//! read yet, and a proxy that is still sending a body takes the reset for a failure of this server and sends others
//! nothing but errors for a while. So the answer is followed by the end of what is sent, and what still comes is read
//! and thrown away, within bounds, until the peer closes as well.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the peer may be silent.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// How long it may go on sending.
const LONGEST: Duration = Duration::from_secs(30);

/// Bytes that it may send.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// How long it may go on when there is no time.
const SHORTEST: Duration = Duration::from_millis(500);

/// Ends what is sent to the peer, and reads until it closes or has had its time, of which there is little after `stop`.
pub(in crate::http) async fn lingering_close(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    stop: &CancellationToken,
) {
    let hurry = async {
        stop.cancelled().await;
        tokio::time::sleep(SHORTEST).await;
    };
    // However it ends, the answer is sent, and nobody is left to be told.
    tokio::select! {
        _ = timeout(LONGEST, read_to_the_end(stream)) => {}
        () = hurry => {}
    }
}

async fn read_to_the_end(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; 4096];
    let mut bytes = 0;
    while bytes < MOST_BYTES {
        match timeout(LONGEST_SILENCE, stream.read(&mut unread)).await {
            Ok(Ok(read @ 1..)) => bytes += read,
            Ok(Ok(0)) | Ok(Err(_)) | Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;

    /// How long a lingering close takes to a peer that sends so many bytes, a thousand each time, after pauses of this length.
    async fn duration(bytes: usize, pause: Duration) -> (Duration, usize) {
        let (mut near, mut far) = duplex(64 * 1024);
        let from = Instant::now();
        let sending = async {
            let mut sent = 0;
            while sent < bytes && far.write_all(&[b'x'; 1_000]).await.is_ok() {
                sent += 1_000;
                tokio::time::sleep(pause).await;
            }
            (far, sent)
        };
        let stop = CancellationToken::new();
        let ending = async {
            lingering_close(&mut near, &stop).await;
            drop(near);
            from.elapsed()
        };
        let (taken, (_far, sent)) = tokio::join!(ending, sending);
        (taken, sent)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_may_finish_what_it_sends_within_bounds() {
        let (taken, sent) = duration(10_000_000, Duration::from_millis(1)).await;
        assert_eq!(sent, 10_000_000);
        assert!(taken <= Duration::from_secs(10) + LONGEST_SILENCE + Duration::from_secs(11), "{taken:?}");
        let (taken, _) = duration(usize::MAX, Duration::from_secs(4)).await;
        assert_eq!(taken, LONGEST);
        let (taken, _) = duration(1_000, Duration::from_secs(60)).await;
        assert_eq!(taken, LONGEST_SILENCE);
        let (_, sent) = duration(usize::MAX, Duration::ZERO).await;
        assert!(sent < MOST_BYTES + 1_000_000, "{sent} bytes");
    }
}
