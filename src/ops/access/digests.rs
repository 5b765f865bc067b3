//! Digests under a key that only this process has, so that what is remembered of a secret tells nothing to who reads
//! the memory, and how long a comparison takes tells nothing of the secret.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use rustls::crypto::ring;
use sha2::Sha256;
use thiserror::Error;

/// The digest of a secret.
pub(super) type Digest = [u8; 32];

/// There is no randomness for a key.
#[derive(Debug, Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// Makes digests.
pub(super) struct Digests(Hmac<Sha256>);

impl Digests {
    pub(super) fn new() -> Result<Digests, NoRandomness> {
        let mut key = [0; 32];
        ring::default_provider().secure_random.fill(&mut key).map_err(|_| NoRandomness)?;
        // HMAC takes keys of any length (RFC 2104).
        Ok(Digests(Hmac::new_from_slice(&key).map_err(|_| NoRandomness)?))
    }

    /// The digest of these parts, which is not that of the same bytes in other parts.
    pub(super) fn of(&self, parts: &[&[u8]]) -> Digest {
        let mut hmac = self.0.clone();
        for part in parts {
            hmac.update(&part.len().to_be_bytes());
            hmac.update(part);
        }
        hmac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Digests {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Digests")
    }
}
