//! Laws of what is sent again, whatever the file has.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::replay::queries_in;
use crate::callback::fuzzing;
use crate::config::callback_url::CallbackUrl;
use crate::http::raw_query::as_text;
use crate::state::refused::RefusedRequests;

/// A file of refused requests, or a segment. What is sent of it decodes to what was kept.
pub fn replayed_file(bytes: &[u8]) {
    let url: CallbackUrl = "http://a/b?c=d".parse().unwrap_or_else(|error| panic!("{error}"));
    let queries = match queries_in(Path::new("file"), bytes) {
        Ok(queries) => queries,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    for query in queries {
        let Some(uri) = url.with(query.as_bytes()) else { continue };
        assert_eq!(uri.path(), "/b");
        let sent = uri.query().unwrap_or_default().strip_prefix("c=d&").unwrap_or_default();
        assert_eq!(decoded(sent), decoded(&query));
    }
}

/// A query that was refused. It is kept as one line, which is read as it was written.
pub fn kept_query(query: &[u8]) {
    let refused = RefusedRequests::in_memory(2, Duration::from_secs(60));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_582_527_600);
    refused.keep_for_show(now, "no sid".to_owned(), query);
    refused.keep(now, "no sid".to_owned(), query);
    let mut reading = refused.begin_reading(now);
    let Ok(lines) = refused.read(&mut reading, usize::MAX) else {
        panic!("what is kept is forgotten while it is read")
    };
    assert_eq!(lines.matches('\n').count(), 2);
    let queries = queries_in(Path::new("refused.jsonl"), lines.as_bytes()).unwrap_or_default();
    assert_eq!(queries, [as_text(query)]);
    fuzzing::query(queries.concat().as_bytes());
}

fn decoded(query: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(query).collect()
}
