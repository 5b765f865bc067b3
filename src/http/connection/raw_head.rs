//! The head of a request that is wrong in one way only: its query has raw bytes that no URI may have.
//!
//! This reads no HTTP. It cuts such a query out of the request line; whether what is left is a good head is for hyper to say,
//! which reads it afterwards. That is the proof that the query alone was at fault.

use hyper::Uri;

use crate::http::raw_query::RawQuery;

/// What bytes at which hyper failed are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Something else, to be answered 400.
    Other,
    /// The beginning of such a head.
    Begun,
    /// Such a head.
    Whole(RawHead),
}

/// The two parts of such a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawHead {
    /// The head as it came, without the query and what came behind it.
    pub(super) head: Vec<u8>,
    /// The query.
    pub(super) query: RawQuery,
}

impl RawHead {
    /// How many bytes of what came it is.
    pub(super) fn len(&self) -> usize {
        self.head.len() + 1 + self.query.as_bytes().len()
    }
}

/// Reads what came from the beginning of a head on.
pub(super) fn read(bytes: &[u8]) -> Reading {
    read_head(bytes).unwrap_or(Reading::Other)
}

fn read_head(bytes: &[u8]) -> Option<Reading> {
    let line_end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..line_end.unwrap_or(bytes.len())];
    let behind_method = line.strip_prefix(b"GET ")?;
    let query_from = behind_method.iter().position(|byte| *byte == b'?')? + 1;
    let (path, rest) = (&behind_method[..query_from - 1], &behind_method[query_from..]);
    // A path with a fragment, or one that is none, is another fault; so is the form of a CONNECT or of an OPTIONS.
    let uri = Uri::try_from(path).ok().filter(|_| !path.contains(&b'#'))?;
    if path.first() != Some(&b'/') && !matches!(uri.scheme_str(), Some("http" | "https")) {
        return None;
    }
    let Some(line_end) = line_end else {
        let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
        return RawQuery::new(rest).map(|_| Reading::Begun);
    };
    let rest = rest.strip_suffix(b"\r")?;
    let (query, version) = rest.split_at(rest.len().checked_sub(b" HTTP/1.1".len())?);
    // Who reads to the first of two versions would find another query.
    let has_one_version = !query.windows(6).any(|text| text == b" HTTP/");
    if !matches!(version, b" HTTP/1.1" | b" HTTP/1.0") || !has_one_version {
        return None;
    }
    let is_fault = query.contains(&b' ') || Uri::try_from(&line[4..query_from + 4 + query.len()]).is_err();
    let raw = RawQuery::new(query).filter(|_| is_fault)?;
    let Some(end) = end_of_head(bytes, line_end - 1) else { return Some(Reading::Begun) };
    let fields = &bytes[line_end - 1..end];
    has_only_whole_line_ends(fields)
        .then(|| RawHead { head: [b"GET ", path, version, fields].concat(), query: raw })
        .map(Reading::Whole)
}

/// Where the first head ends that ends as it should, as far as there is one behind `from`.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let end = bytes.get(from..)?.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(from + end + 4)
}

/// Whether each CR is followed by an LF and each LF follows a CR: other readers may see other lines where they are alone.
fn has_only_whole_line_ends(fields: &[u8]) -> bool {
    let count = |wanted: u8| fields.iter().filter(|byte| **byte == wanted).count();
    let whole = fields.windows(2).filter(|two| two == b"\r\n").count();
    (count(b'\r'), count(b'\n')) == (whole, whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: &str = "host: a\r\nx: y\r\n\r\n";

    fn whole(path: &str, query: &[u8], version: &str) -> (Vec<u8>, RawHead) {
        let bytes = [
            b"GET ",
            path.as_bytes(),
            b"?",
            query,
            b" HTTP/",
            version.as_bytes(),
            b"\r\n",
            FIELDS.as_bytes(),
        ]
        .concat();
        let head = format!("GET {path} HTTP/{version}\r\n{FIELDS}").into_bytes();
        (bytes, RawHead { head, query: RawQuery::new(query).expect("no control characters") })
    }

    #[test]
    fn the_query_is_cut_out_of_the_head() {
        for (path, version) in [("/call_event", "1.1"), ("http://a:1/b", "1.0"), ("HTTPS://a/b", "1.1")] {
            for query in [&b"a=\""[..], b"<", b">", b" ", b"a=b c ", b"a=?\xff", b"\"#?"] {
                let (bytes, head) = whole(path, query, version);
                assert_eq!(read(&bytes), Reading::Whole(head.clone()));
                assert_eq!(read(&[&bytes[..], b"GET /"].concat()), Reading::Whole(head));
            }
        }
    }

    #[test]
    fn a_head_that_is_wrong_in_another_way_is_another() {
        let good = whole("/a", b"b=\"", "1.1").0;
        let good = str::from_utf8(&good).expect("text");
        for (from, to) in [
            ("GET ", "GET  "),
            ("GET ", "get "),
            ("GET ", "HEAD "),
            ("/a", "a"),
            ("/a", "*"),
            ("/a", "/a b"),
            ("/a", "/<"),
            ("/a", "/a#"),
            ("/a", "ftp://a/"),
            ("\"", "c"),
            ("\"", "\"\0"),
            ("\"", "\"\t"),
            ("\"", "\"\rc"),
            ("\"", "\" HTTP/1.1"),
            (" HTTP", "HTTP"),
            ("1.1", "2.0"),
            ("1.1", "1.1 "),
            ("1.1\r", "1.1"),
            ("host: a\r", "host: a"),
            ("host: a\r", "host: a\rb\r"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(read(bad.as_bytes()), Reading::Other, "{bad:?}");
        }
    }

    proptest! {
        /// However much of it has come, it is the beginning of what it becomes, from the first raw byte on.
        #[test]
        fn the_beginning_of_such_a_head_is_known(
            before in "[a-z=&]{0,9}", raw in "[ \"<>]", behind in prop::collection::vec(0x20u8..=0xff, 0..20)
        ) {
            let query = [before.as_bytes(), raw.as_bytes(), &behind].concat();
            prop_assume!(!query.contains(&0x7f) && !query.windows(5).any(|text| text == b" HTTP"));
            let (bytes, head) = whole("/a", &query, "1.1");
            prop_assert_eq!(read(&bytes), Reading::Whole(head));
            for end in "GET /a?".len() + before.len() + 1..bytes.len() {
                prop_assert_eq!(read(&bytes[..end]), Reading::Begun, "{}", end);
            }
        }

        /// What is cut out of the line and put back is what came.
        #[test]
        fn arbitrary_bytes_are_told_apart(
            bytes in prop::collection::vec(
                prop_oneof![Just(b"GET /".to_vec()), Just(b"?".to_vec()), Just(b"\"".to_vec()), Just(b" ".to_vec()),
                    Just(b" HTTP/1.1".to_vec()), Just(b"\r\n".to_vec()), Just(b"\r\n\r\n".to_vec()), prop::collection::vec(any::<u8>(), 0..3)],
                0..20,
            )
        ) {
            let bytes = bytes.concat();
            if let Reading::Whole(RawHead { head, query }) = read(&bytes) {
                let at = head.windows(6).position(|text| text == b" HTTP/").expect("a version");
                let put_back = [&head[..at], b"?", query.as_bytes(), &head[at..]].concat();
                prop_assert!(bytes.starts_with(&put_back));
                prop_assert!(put_back.ends_with(b"\r\n\r\n"));
                prop_assert_eq!(put_back.len(), head.len() + 1 + query.as_bytes().len());
            }
        }
    }
}
