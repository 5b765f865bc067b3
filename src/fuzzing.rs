//! Laws of what reads bytes from outside: a function each, which panics if its law is broken.
//!
//! `fuzz/` has a target of cargo-fuzz for each, to be run for hours by hand. The tests below ask the same laws of the
//! seeds, of seeds that are damaged and of bytes at random, in seconds.
//!
//! Whoever reads other bytes from outside adds a law beside what reads them, and a line here: the tests say what else
//! is missing.

pub use crate::callback::fuzzing::{journal_record, query};
pub use crate::config::fuzzing::{callback_path, flag_value};
pub use crate::history::fuzzing::told;
pub use crate::http::fuzzing::{
    client_address, connection, credentials_file, field_value, proxy_header, raw_head, request_host,
    tls_files,
};
pub use crate::intake::admission::fuzzing::secret_parameter;
pub use crate::journal::fuzzing::{damaged_journal, journal_segment, sink_position, waiting_segment};
pub use crate::ledger::fuzzing::{counted, kept as checkpoint};
pub use crate::ops::access::fuzzing::{authorization, web_config};
pub use crate::ops::commands::fuzzing::{kept_query, replayed_file};
pub use crate::sinks::otlp::fuzzing::otlp_answer;
pub use crate::state::fuzzing::lines_that_grow_old;

/// A law.
pub type Law = fn(&[u8]);

/// Every law by its name, which is that of its target and of the folder of its seeds.
pub const LAWS: &[(&str, Law)] = &[
    ("authorization", authorization),
    ("callback_path", callback_path),
    ("callback_query", callback_query),
    ("checkpoint", checkpoint),
    ("client_address", client_address),
    ("connection", connection),
    ("credentials_file", credentials_file),
    ("damaged_journal", damaged_journal),
    ("field_value", field_value),
    ("flag_value", flag_value),
    ("journal_record", journal_record),
    ("journal_segment", journal_segment),
    ("json_lines", json_lines),
    ("otlp_answer", otlp_answer),
    ("proxy_header", proxy_header),
    ("raw_head", raw_head),
    ("request_host", request_host),
    ("secret_parameter", secret_parameter),
    ("sink_position", sink_position),
    ("tls_files", tls_files),
    ("waiting_segment", waiting_segment),
    ("web_config", web_config),
];

/// The query of a callback: it is read, counted, told of, and kept if it is refused.
pub fn callback_query(bytes: &[u8]) {
    query(bytes);
    counted(bytes);
    told(bytes);
    kept_query(bytes);
}

/// A file of JSON lines: what is old leaves it, and it is sent again.
pub fn json_lines(bytes: &[u8]) {
    lines_that_grow_old(bytes);
    replayed_file(bytes);
}

#[cfg(test)]
mod tests;
