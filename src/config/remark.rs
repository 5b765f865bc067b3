//! What is said at the start of variables that are not, or not wholly, followed. It stops nothing.

use thiserror::Error;
use tracing::{error, info, warn};

/// A variable whose value cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{variable}={given}: expected {expected}; {instead}")]
pub struct InvalidVariable {
    /// Its name.
    pub variable: String,
    /// Its value; not shown where it can be a secret.
    pub given: String,
    /// What is accepted.
    pub expected: String,
    /// What happens instead.
    pub instead: String,
}

/// Something about a variable that is set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Remark {
    /// What it was to configure is off, since its value cannot be followed.
    #[error(transparent)]
    Fatal(InvalidVariable),
    /// Its value is not followed.
    #[error(transparent)]
    Invalid(InvalidVariable),
    /// Nobody knows its name.
    #[error("{variable} is not known, so it has no effect{}", meant(nearest.as_ref()))]
    Unknown {
        /// Its name.
        variable: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// It has no effect beside what else is set.
    #[error("{variable} has no effect: {reason}")]
    WithoutEffect {
        /// Its name.
        variable: String,
        /// Why not.
        reason: String,
    },
}

fn meant(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}

impl Remark {
    /// Writes it to the program's log.
    pub fn log(&self) {
        match self {
            Remark::Fatal(_) => error!("{}", self.with_page()),
            Remark::Invalid(_) | Remark::Unknown { .. } => warn!("{}", self.with_page()),
            Remark::WithoutEffect { .. } => info!("{self}"),
        }
    }

    /// What it says, and the page to read.
    fn with_page(&self) -> String {
        let page = match self {
            Remark::Unknown { variable, .. } if !variable.starts_with("OTEL_") => "docs/configuration.md",
            _ => "docs/otlp.md",
        };
        let said = self.to_string();
        match said.ends_with('?') {
            true => format!("{said} {page} has every variable"),
            false => format!("{said}; {page} has every variable"),
        }
    }
}
