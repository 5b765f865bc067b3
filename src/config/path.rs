//! Paths that are the same, however they are spelled. A proxy passes them on as they come, and a URL is registered by hand.
//!
//! Two paths are the same if they have the same segments (RFC 3986, 6.2.2). Empty segments and `.` do not count, so neither
//! do doubled slashes or one at the end. An unreserved character may be percent-encoded, and hexadecimal digits may have either
//! case. Nothing else is taken for another: an encoded slash (`%2F`) is part of its segment, `..` is a segment like any
//! other, and case matters.

/// Whether these are the same path.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let mut others = segments(other);
    segments(one).all(|segment| others.next().is_some_and(|other| symbols(segment).eq(symbols(other))))
        && others.next().is_none()
}

/// The segments that count.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let counts = |segment: &&[u8]| !segment.is_empty() && !symbols(segment).eq([Symbol::Plain(b'.')]);
    path.split(|byte| *byte == b'/').filter(counts)
}

/// What a segment is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    /// A byte as it is, or one that need not have been encoded.
    Plain(u8),
    /// A byte that is something else when it is encoded.
    Encoded(u8),
}

fn symbols(segment: &[u8]) -> impl Iterator<Item = Symbol> {
    let mut rest = segment;
    std::iter::from_fn(move || {
        if let [b'%', high, low, behind @ ..] = rest
            && let Some((high, low)) = digit(*high).zip(digit(*low))
        {
            rest = behind;
            let byte = high << 4 | low;
            return Some(if is_unreserved(byte) { Symbol::Plain(byte) } else { Symbol::Encoded(byte) });
        }
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        Some(Symbol::Plain(*byte))
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn is_same(one: &str, other: &str) -> bool {
        super::is_same(one.as_bytes(), other.as_bytes())
    }

    #[test]
    fn a_path_has_many_spellings() {
        for spelling in [
            "/a/call_event",
            "/a/call_event/",
            "//a///call_event//",
            "/./a/./call_event/.",
            "/%61/call%5Fevent",
            "/a/call%5fevent/%2E/",
        ] {
            assert!(is_same("/a/call_event", spelling), "{spelling}");
        }
        assert!(is_same("/", "//") && is_same("/", "/./") && is_same("/a%2fb", "/a%2Fb"));
    }

    #[test]
    fn what_may_mean_something_else_is_another_path() {
        for other in [
            "/",
            "/a",
            "/a/call_event/b",
            "/b/a/call_event",
            "/a%2Fcall_event",
            "/a/b/../call_event",
            "/a/Call_event",
            "/a/call_event;v=1",
            "/a/call_event%",
            "/a/call_event%00",
            "/a/call%255Fevent",
            "/a/..call_event",
        ] {
            assert!(!is_same("/a/call_event", other), "{other}");
        }
        assert!(!is_same("/a+b", "/a%2Bb") && !is_same("/a/..", "/") && !is_same("/a%2fb", "/a/b"));
    }

    proptest! {
        #[test]
        fn a_spelling_is_the_path_and_any_other_segment_is_not(
            segments in prop::collection::vec("[a-z_~-]{1,6}", 0..4),
            encoded in any::<[bool; 32]>(),
            extra in prop::collection::vec(prop::sample::select(vec!["", ".", "%2e"]), 5),
        ) {
            let mut at = 0;
            let mut spelled = String::new();
            for (segment, extra) in segments.iter().zip(&extra) {
                spelled += &format!("/{extra}/");
                for byte in segment.bytes() {
                    at += 1;
                    match encoded[at % 32] {
                        true => spelled += &format!("%{byte:02X}"),
                        false => spelled.push(char::from(byte)),
                    }
                }
            }
            let path = format!("/{}", segments.join("/"));
            let spelled = format!("{spelled}/{}", extra[4]);
            prop_assert!(is_same(&path, &spelled) && is_same(&spelled, &path), "{} {}", path, spelled);
            let longer = format!("{spelled}/x");
            prop_assert!(!is_same(&path, &longer) && !is_same(&longer, &path));
        }
    }
}
