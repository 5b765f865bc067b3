//! A copy of what hyper was given and has not handed over as a request yet: where it fails, the beginning of the head
//! at which it does.
//!
//! hyper does not show where it failed, and may have thrown the head away by then. The copy knows where each head
//! begins because it is told of every request as it is handed over: the head of that request is then the first in the
//! copy and is dropped, up to its empty line, as hyper finds it; its body is skipped by its length. A body whose length
//! nobody knows beforehand (chunked) makes the copy lost, and so does more than hyper itself would hold. A copy that is
//! lost is empty, and hyper's own answer stands. It begins anew with what hyper is given when it has answered and wants
//! to read on: then it has all of the body, and at most the beginning of a head, which is missed by whoever compares
//! the copy with what hyper has not read.

use memchr::memchr;

/// The copy of one connection.
#[derive(Debug)]
pub(super) struct HeadCopy {
    /// From the beginning of a head on.
    bytes: Vec<u8>,
    /// Bytes of a body that are still to come before the next head.
    body: u64,
    /// How long the copy may be.
    limit: usize,
    is_lost: bool,
}

/// Room that is kept from one head to the next; more is given back.
const USUAL_HEAD: usize = 4 * 1024;

impl HeadCopy {
    /// A copy of up to `limit` bytes; with a limit of 0 there is never one.
    pub(super) fn new(limit: usize) -> HeadCopy {
        HeadCopy { bytes: Vec::new(), body: 0, limit, is_lost: limit == 0 }
    }

    /// Notes that hyper reads on with nothing to answer.
    pub(super) fn begin_anew_if_lost(&mut self) {
        if self.is_lost && self.limit > 0 {
            *self = HeadCopy::new(self.limit);
        }
    }

    /// The request target of the first head, if it has a `#` in it, from which on hyper throws it away.
    pub(super) fn target_with_fragment(&self) -> Option<&[u8]> {
        let head = without_line_ends(&self.bytes);
        let line = &head[..memchr(b'\n', head)?];
        memchr(b'#', line)?;
        let mut words = line.splitn(2, |byte| *byte == b' ');
        let behind_method = words.nth(1)?;
        let end = behind_method.iter().rposition(|byte| *byte == b' ')?;
        Some(&behind_method[..end])
    }

    /// Notes what hyper was given.
    pub(super) fn note_given(&mut self, given: &[u8]) {
        if self.is_lost {
            return;
        }
        let of_body = usize::try_from(self.body).map_or(given.len(), |body| body.min(given.len()));
        self.body -= of_body as u64;
        let of_head = &given[of_body..];
        let length = self.bytes.len() + of_head.len();
        if length > self.limit {
            return self.lose();
        }
        if length > self.bytes.capacity().max(USUAL_HEAD) {
            // All the room at once: as a vector grows by itself, it takes up to twice as much, and leaves holes behind.
            self.bytes.reserve_exact(self.limit - self.bytes.len());
        }
        self.bytes.extend_from_slice(of_head);
    }

    /// Notes that hyper hands a request over, whose body has so many bytes, if anybody knows.
    pub(super) fn note_request(&mut self, body: Option<u64>) {
        if self.is_lost {
            return;
        }
        let (Some(head), Some(body), 0) = (end_of_request_head(&self.bytes), body, self.body) else {
            return self.lose();
        };
        let behind = self.bytes.len() - head;
        let of_body = usize::try_from(body).map_or(behind, |body| body.min(behind));
        self.body = body - of_body as u64;
        self.bytes.drain(..head + of_body);
        if self.bytes.is_empty() && self.bytes.capacity() > USUAL_HEAD {
            self.bytes = Vec::new();
        }
    }

    /// What hyper was given of heads that it has not handed over, without empty lines in front.
    pub(super) fn rest(&self) -> &[u8] {
        without_line_ends(&self.bytes)
    }

    fn lose(&mut self) {
        (self.bytes, self.is_lost) = (Vec::new(), true);
    }
}

/// What comes behind CR and LF in front of a head, which are no part of it.
pub(super) fn without_line_ends(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Where the first head ends, as hyper reads it: at a line that is empty, whether lines end with CR LF or LF alone.
fn end_of_request_head(bytes: &[u8]) -> Option<usize> {
    let mut at = bytes.len() - without_line_ends(bytes).len();
    loop {
        at += memchr(b'\n', &bytes[at..])? + 1;
        match &bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Sent {
        head: String,
        body: Vec<u8>,
    }

    fn requests() -> impl Strategy<Value = Vec<Sent>> {
        let line_end = || prop::sample::select(vec!["\r\n", "\n"]);
        let body = prop_oneof![
            Just(Vec::new()),
            prop::collection::vec(any::<u8>(), 1..40),
            Just(b"\r\n\r\nGET /?\" HTTP/1.1\r\n\r\n".to_vec()),
        ];
        let head = ("(\r\n|\n){0,2}", "[A-Z]{1,5} /[a-z]{0,9}", "([a-z]: [ -~]{0,9}\r\n){0,3}", line_end());
        let request = (head, body).prop_map(|((lines, line, fields, end), body)| {
            let fields = fields.replace("\r\n", end);
            Sent { head: format!("{lines}{line} HTTP/1.1{end}{fields}{end}"), body }
        });
        prop::collection::vec(request, 0..6)
    }

    proptest! {
        /// However the bytes of requests are split into reads, and however far hyper reads ahead of what it hands over,
        /// the copy begins with the head that is not handed over yet.
        #[test]
        fn the_copy_begins_where_the_next_head_does(
            requests in requests(), last in "[!-~][ -~]{0,30}", cuts in prop::collection::vec(1usize..60, 1..40)
        ) {
            let mut bytes = Vec::new();
            let mut heads = Vec::new();
            for Sent { head, body } in &requests {
                bytes.extend_from_slice(head.as_bytes());
                heads.push((bytes.len(), body.len()));
                bytes.extend_from_slice(body);
            }
            let begins = bytes.len();
            bytes.extend_from_slice(last.as_bytes());
            let mut copy = HeadCopy::new(10_000);
            let (mut given, mut heads) = (0, heads.into_iter().peekable());
            // Where the last body that was handed over ends; the next head is not read before that.
            let mut from = 0;
            for cut in cuts.iter().cycle() {
                let until = (given + cut).min(bytes.len());
                copy.note_given(&bytes[given..until]);
                given = until;
                while let Some((end, body)) = heads.next_if(|(end, _)| *end <= given && from <= given) {
                    copy.note_request(Some(body as u64));
                    from = end + body;
                }
                if given == bytes.len() {
                    break;
                }
            }
            prop_assert!(heads.next().is_none());
            prop_assert_eq!(copy.rest(), &bytes[begins..]);
        }
    }

    #[test]
    fn a_body_of_unknown_length_or_too_much_loses_the_copy() {
        let head = b"POST / HTTP/1.1\r\n\r\n";
        let lost = |given: &[u8], body: Option<u64>, limit: usize| {
            let mut copy = HeadCopy::new(limit);
            copy.note_given(given);
            copy.note_request(body);
            copy.note_given(b"GET /");
            copy.rest().is_empty() && copy.is_lost
        };
        assert!(!lost(head, Some(0), 100));
        assert!(lost(head, None, 100));
        assert!(lost(head, Some(0), 10));
        assert!(lost(&head[..10], Some(0), 100), "hyper saw a head where the copy does not");
        assert!(lost(head, Some(0), 0));
    }

    #[test]
    fn a_long_body_is_not_kept() {
        let mut copy = HeadCopy::new(100);
        copy.note_given(b"POST / HTTP/1.1\r\n\r\nxx");
        copy.note_request(Some(1_000_002));
        (0..1_000).for_each(|_| copy.note_given(&[b'x'; 1_000]));
        assert_eq!(copy.rest(), b"");
        copy.note_given(b"GET /");
        assert_eq!(copy.rest(), b"GET /");
    }
}
