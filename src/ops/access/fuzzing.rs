//! Laws of the web configuration, and of the credentials that a request shows.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrypt::HashParts;

use super::Credentials;
use super::web_config::{DIGEST, HIGHEST_COST, WebConfig};
use crate::http::server_tls::Clients;

/// Characters of a bcrypt hash.
const HASH: usize = 60;

/// The bytes of a web configuration. What is read is what can be kept to, and no error shows a hash.
pub fn web_config(bytes: &[u8]) {
    let folder = Path::new("/etc/web");
    match WebConfig::of(&folder.join("web.yml"), bytes) {
        Ok(WebConfig { tls, users }) => {
            for (user, hash) in users.iter() {
                let cost = hash.parse().map(|parts: HashParts| parts.get_cost());
                assert!(!user.contains(':') && cost.is_ok_and(|cost| cost <= HIGHEST_COST));
            }
            if let Some(tls) = tls {
                let authorities = match &tls.clients {
                    Clients::Anyone => None,
                    Clients::IfGiven(file) | Clients::Required(file) => Some(file),
                };
                let files = [Some(&tls.certificate), Some(&tls.key), authorities];
                assert!(files.into_iter().flatten().all(|file| file.is_absolute()));
            }
        }
        Err(error) => {
            let error = error.to_string();
            let hashes = bytes.windows(HASH).filter_map(|window| str::from_utf8(window).ok());
            for hash in hashes.filter(|text| text.parse::<HashParts>().is_ok()) {
                assert!(!error.contains(&hash[HASH - DIGEST..]), "{error}");
            }
        }
    }
}

/// The value of Authorization. Credentials are what stands there, and nothing else.
pub fn authorization(bytes: &[u8]) {
    match Credentials::read(bytes) {
        None => {}
        Some(Credentials::Bearer(token)) => {
            assert!(bytes.len() > "bearer".len() && bytes.trim_ascii_end().ends_with(token));
            assert!(token == token.trim_ascii());
        }
        Some(Credentials::Basic { user, password }) => {
            assert!(!user.contains(':'));
            let written = BASE64_STANDARD.encode([user.as_bytes(), b":", &password].concat());
            assert!(bytes.trim_ascii_end().ends_with(written.as_bytes()));
        }
    }
}
