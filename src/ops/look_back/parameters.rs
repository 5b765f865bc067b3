//! The parameters of these pages, of which none is passed over: one that is misspelt would change what an answer means.

use hyper::{Response, StatusCode};
use thiserror::Error;

use crate::http::response::{self, Body};

/// Why a query cannot be answered.
#[derive(Debug, Error)]
#[error("{detail}")]
pub(super) struct BadParameter {
    name: String,
    detail: String,
}

impl BadParameter {
    /// There is no such parameter, and there are these.
    pub(super) fn unknown(name: &str, known: &str) -> BadParameter {
        BadParameter {
            name: name.to_owned(),
            detail: format!("there is no parameter {name}; expected {known}"),
        }
    }

    /// It has another value than is expected.
    pub(super) fn value(name: &str, expected: &str) -> BadParameter {
        BadParameter { name: name.to_owned(), detail: format!("{name}: {expected}") }
    }

    /// It is not there.
    pub(super) fn missing(name: &str, expected: &str) -> BadParameter {
        BadParameter {
            name: name.to_owned(),
            detail: format!("{name}: expected {expected}, and it is missing"),
        }
    }
}

impl From<BadParameter> for Response<Body> {
    fn from(bad: BadParameter) -> Response<Body> {
        response::problem(StatusCode::BAD_REQUEST, "Bad parameter", &bad.detail, Some(&bad.name))
    }
}

/// The parameters of a query with their values, each once.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, BadParameter> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).map_err(|error| BadParameter {
        name: String::new(),
        detail: format!("expected name=value pairs joined by &: {error}"),
    })?;
    for (at, (name, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(other, _)| other == name) {
            return Err(BadParameter::value(name, "expected it once"));
        }
    }
    Ok(pairs)
}
