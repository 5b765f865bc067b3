//! Which proxy stands before a collector: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in either case, as other exporters of
//! OTLP honour them.

use std::net::IpAddr;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;

/// A proxy on the way to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpProxy {
    /// Where it is, without credentials.
    pub uri: Uri,
    /// The credentials that stood in its URL, for `Proxy-Authorization`; marked as secret.
    pub authorization: Option<HeaderValue>,
}

/// The proxy to reach `endpoint` through, if the variables name one that speaks plain HTTP. What is on this machine is reached
/// directly.
pub(super) fn of(endpoint: &Uri, variable: impl Fn(&str) -> Option<String>) -> Option<OtlpProxy> {
    if is_loopback(endpoint.host()?) {
        return None;
    }
    let either =
        |name: &str| variable(name).or_else(|| variable(&name.to_ascii_lowercase())).unwrap_or_default();
    let matcher = Matcher::builder()
        .http(either("HTTP_PROXY"))
        .https(either("HTTPS_PROXY"))
        .no(either("NO_PROXY"))
        .build();
    let proxy = matcher.intercept(endpoint).filter(|proxy| proxy.uri().scheme_str() == Some("http"))?;
    Some(OtlpProxy { uri: proxy.uri().clone(), authorization: proxy.basic_auth().cloned() })
}

/// The variables of proxies that cannot be used.
pub(super) fn unusable(variable: impl Fn(&str) -> Option<String>) -> Vec<&'static str> {
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"].into_iter();
    let is_of_another_kind = |name: &&str| {
        let scheme = variable(name).and_then(|url| Some(url.split_once("://")?.0.to_ascii_lowercase()));
        scheme.is_some_and(|scheme| scheme != "http")
    };
    names.filter(is_of_another_kind).collect()
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_of(endpoint: &str, variables: &[(&str, &str)]) -> Option<OtlpProxy> {
        of(&endpoint.parse().expect("a URI"), |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variables_are_honoured_in_either_case_and_by_scheme() {
        let both = [("HTTPS_PROXY", "http://secure:3128"), ("http_proxy", "plain:8080")];
        let uri = |endpoint: &str| proxy_of(endpoint, &both).map(|proxy| proxy.uri.to_string());
        assert_eq!(uri("https://collector/v1/traces").as_deref(), Some("http://secure:3128/"));
        assert_eq!(uri("http://collector:4318/v1/traces").as_deref(), Some("http://plain:8080/"));
        for endpoint in ["http://localhost:4318", "https://127.0.0.1:4318", "http://[::1]:4318"] {
            assert_eq!(uri(endpoint), None, "{endpoint}");
        }
        assert_eq!(proxy_of("http://collector", &[]), None);
    }

    #[test]
    fn no_proxy_names_hosts_domains_and_networks() {
        let proxy = ("HTTP_PROXY", "http://proxy:3128");
        let no = ("no_proxy", "collector.internal, .example.org,10.0.0.0/8");
        for (endpoint, is_direct) in [
            ("http://collector.internal:4318", true),
            ("http://a.example.org", true),
            ("http://10.1.2.3:4318", true),
            ("http://11.1.2.3:4318", false),
            ("http://collector:4318", false),
        ] {
            assert_eq!(proxy_of(endpoint, &[proxy, no]).is_none(), is_direct, "{endpoint}");
        }
        assert_eq!(proxy_of("http://c", &[proxy, ("NO_PROXY", "*")]), None);
    }

    #[test]
    fn a_proxy_of_another_kind_is_not_used_and_that_is_said() {
        let variable = |name: &str| (name == "https_proxy").then(|| "socks5://user:secret@proxy".to_owned());
        assert_eq!(of(&"https://c".parse().expect("a URI"), variable), None);
        assert_eq!(unusable(variable), ["https_proxy"]);
    }

    #[test]
    fn credentials_are_taken_out_of_the_url_and_not_shown() {
        let proxy =
            proxy_of("http://c", &[("HTTP_PROXY", "http://user:pass%20word@proxy:3128")]).expect("a proxy");
        assert_eq!(proxy.uri.to_string(), "http://proxy:3128/");
        assert_eq!(proxy.authorization.as_ref().expect("credentials"), "Basic dXNlcjpwYXNzIHdvcmQ=");
        let shown = format!("{proxy:?}");
        assert!(!shown.contains("pass") && !shown.contains("dXNl"), "{shown}");
    }
}
