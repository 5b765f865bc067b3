//! Releases of this program: who wrote a file, and the oldest one that can read it. The ground floor, beside the metrics;
//! the files of a state directory name them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The number of a release, as in Semantic Versioning, without pre-releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The major version: it changes when a release is incompatible.
    pub major: u16,
    /// The minor version: it changes when a release adds features.
    pub minor: u16,
    /// The patch version: it changes when a release only fixes bugs.
    pub patch: u16,
}

impl Release {
    /// This program's own.
    pub const THIS: Release = Release {
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
        patch: number(env!("CARGO_PKG_VERSION_PATCH")),
    };
}

/// A number of Cargo.toml; one that is none does not compile.
const fn number(text: &str) -> u16 {
    match u16::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("expected a version of numbers up to 65535 in Cargo.toml"),
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A text that is no release.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a release such as 0.2.0, got {0:?}")]
pub struct NotARelease(String);

impl FromStr for Release {
    type Err = NotARelease;

    fn from_str(text: &str) -> Result<Release, NotARelease> {
        let not_a_release = || NotARelease(text.to_owned());
        let mut numbers = text.split('.').map(|number| {
            // Parsing a number would let a sign through.
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse().ok().filter(|_| is_number).ok_or_else(not_a_release)
        });
        let mut next = || numbers.next().ok_or_else(not_a_release)?;
        let release = Release { major: next()?, minor: next()?, patch: next()? };
        if numbers.next().is_some() { Err(not_a_release()) } else { Ok(release) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(major: u16, minor: u16, patch: u16) {
            let release = Release { major, minor, patch };
            prop_assert_eq!(release.to_string().parse(), Ok(release));
        }
    }

    #[test]
    fn releases_have_an_order_and_this_one_is_that_of_the_package() {
        let release = |text: &str| text.parse::<Release>().expect("a release");
        assert!(release("0.2.0") < release("0.2.1"));
        assert!(release("0.9.9") < release("0.10.0"));
        assert!(release("0.10.0") < release("1.0.0"));
        assert_eq!(Release::THIS.to_string(), env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn what_is_no_release_is_refused() {
        for text in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.-3", "1.2.+3", "1.2.65536", " 1.2.3", "1..3"] {
            let error = text.parse::<Release>().expect_err("no release");
            assert_eq!(error.to_string(), format!("expected a release such as 0.2.0, got {text:?}"));
        }
    }
}
