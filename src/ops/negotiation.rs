//! What the client of a page takes: in which format, and whether compressed.

use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName};

use crate::metrics::{openmetrics, text};

/// The headers by which the page differs.
pub(super) const VARY: &str = "Accept, Accept-Encoding";

/// The format of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// OpenMetrics for who names it, in a version that is the same to it, and likes nothing better; text for everybody else.
    pub(super) fn wanted(headers: &HeaderMap) -> Format {
        let accepted: Vec<Accepted<'_>> = accepted(headers, &ACCEPT).collect();
        let weight = |is_meant: &dyn Fn(&Accepted<'_>) -> bool| {
            let weights = accepted.iter().filter(|range| is_meant(range)).map(|range| range.weight);
            weights.reduce(f32::max)
        };
        let openmetrics = weight(&|range| {
            range.is("application/openmetrics-text")
                && range.parameter("version").is_none_or(|version| OPENMETRICS_VERSIONS.contains(&version))
        });
        // The most specific range is the one that counts (RFC 9110, section 12.5.1).
        let text =
            ["text/plain", "text/*", "*/*"].into_iter().find_map(|name| weight(&|range| range.is(name)));
        match openmetrics {
            Some(openmetrics) if openmetrics > 0.0 && openmetrics >= text.unwrap_or(0.0) => {
                Format::OpenMetrics
            }
            _ => Format::Text,
        }
    }

    /// What a page in it says that it is.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Format::Text => text::CONTENT_TYPE,
            Format::OpenMetrics => openmetrics::CONTENT_TYPE,
        }
    }
}

/// The versions of OpenMetrics that a page of 1.0.0 serves. 0.0.1 is its draft, which Prometheus asks for as well.
const OPENMETRICS_VERSIONS: [&str; 2] = ["1.0.0", "0.0.1"];

/// Whether the client takes gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    accepted(headers, &ACCEPT_ENCODING).any(|coding| coding.is("gzip") && coding.weight > 0.0)
}

/// Whether the client is a browser, or shows pages as one: it names HTML among what it takes.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    accepted(headers, &ACCEPT).any(|range| range.is("text/html") && range.weight > 0.0)
}

/// Something that a client accepts: its name, which has no case, and how much it is liked; 0 refuses it (RFC 9110,
/// sections 8.4.1 and 12.4.2).
struct Accepted<'h> {
    name: &'h str,
    parameters: &'h str,
    weight: f32,
}

/// Everything in the headers of this name.
fn accepted<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = Accepted<'h>> {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(|element| {
        let (name, parameters) = element.split_once(';').unwrap_or((element, ""));
        let accepted = Accepted { name: name.trim(), parameters, weight: 1.0 };
        let weight = accepted.parameter("q").and_then(|weight| weight.parse().ok());
        Accepted { weight: weight.unwrap_or(1.0), ..accepted }
    })
}

impl<'h> Accepted<'h> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value of a parameter, without quotes.
    fn parameter(&self, name: &str) -> Option<&'h str> {
        let parameters = self.parameters.split(';').filter_map(|parameter| parameter.split_once('='));
        let mut of_name = parameters.filter(|(known, _)| known.trim().eq_ignore_ascii_case(name));
        of_name.next().map(|(_, value)| value.trim().trim_matches('"'))
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn openmetrics_is_for_who_names_it_and_likes_nothing_better() {
        for accept in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=1.0.0",
            "application/openmetrics-text;version=\"1.0.0\";charset=utf-8",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "text/plain, application/openmetrics-text",
            "*/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.5",
        ] {
            assert_eq!(Format::wanted(&headers(&ACCEPT, &[accept])), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "text/plain",
            "*/*",
            "application/*",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.3,text/plain;q=0.5",
            "application/openmetrics-text;q=0.3,*/*",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
        ] {
            assert_eq!(Format::wanted(&headers(&ACCEPT, &[accept])), Format::Text, "{accept}");
        }
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Text);
        let in_two = ["text/plain;q=0.5", "application/openmetrics-text"];
        assert_eq!(Format::wanted(&headers(&ACCEPT, &in_two)), Format::OpenMetrics);
    }

    #[test]
    fn gzip_is_for_who_names_it_and_does_not_refuse_it() {
        for accept in ["gzip", "deflate, gzip;q=0.5", "GZIP", "gzip;q=1"] {
            assert!(accepts_gzip(&headers(&ACCEPT_ENCODING, &[accept])), "{accept}");
        }
        for accept in ["", "identity", "br", "gzip;q=0", "gzip; q=0.0, identity"] {
            assert!(!accepts_gzip(&headers(&ACCEPT_ENCODING, &[accept])), "{accept}");
        }
    }
}
