//! Flags are described, and wrong values are refused with what is accepted.

use clap::CommandFactory;

use super::*;

#[test]
fn every_flag_has_its_environment_variable_and_a_description() {
    for argument in Config::command().get_arguments() {
        let Some(flag) = argument.get_long().filter(|flag| !matches!(*flag, "help" | "version")) else {
            continue;
        };
        let variable = format!("PLANET_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        assert!(argument.get_help().is_some(), "{flag} is described");
    }
}

#[test]
fn wrong_values_are_refused_with_what_is_accepted() {
    for (flag, value, accepted) in [
        ("--listen", "20200", "a port such as :20200"),
        ("--admin-listen", "localhost", "such as 127.0.0.1:20200, [::]:20200 or localhost:20200"),
        ("--call-event-path", "call_event", "begins with /"),
        ("--call-event-path", "/a?", "such as /callback?action=call"),
        ("--call-event-path", "/a?b#c", "such as /callback?action=call"),
        ("--call-event-path", "/a b", "begins with /"),
        ("--probe-status", "404", "200, 400"),
        ("--readiness-path", "ready", "such as /ready"),
        ("--readiness-path", "/ready?x", "such as /ready"),
        ("--idcs", "KR,J P", "such as KR,JP"),
        ("--identity", "some", "drop, hash, keep"),
        ("--duration-buckets", "5,1", "ascending"),
        ("--seen-age", "0s", "above zero"),
        ("--max-uri-bytes", "1MiB", "up to 65534"),
        ("--forward-to", "127.0.0.1:8080", "such as http://127.0.0.1:8080"),
        ("--forward-mode", "later", "stored, inline"),
        ("--forward-concurrency", "0", "above zero"),
        ("--max-connections", "0", "above zero"),
        ("--worker-threads", "0", "from 1 to 64"),
        ("--worker-threads", "65", "from 1 to 64"),
        ("--max-series", "many", "decimal digits"),
        ("--seen-max", "0", "above zero"),
        ("--refused-max", "-1", "decimal digits"),
        ("--state-max-bytes", "5", "at least 1MiB"),
        ("--state-max-age", "a week", "such as 500ms"),
        ("--segment-age", "0s", "above zero"),
        ("--refused-age", "7", "such as 500ms"),
        ("--log-level", "blah", "error, warn, info"),
        ("--log-level", "", "error, warn, info"),
        ("--log-level", "a=b=c", "filter directives"),
    ] {
        let error = Config::try_parse_from(["planet-call-exporter".to_owned(), format!("{flag}={value}")])
            .expect_err(flag)
            .to_string();
        assert!(error.contains(accepted) && error.contains(flag), "{flag} {value}: {error}");
    }
}

#[test]
fn a_wrong_url_is_refused_without_its_secrets() {
    let name = "planet-call-exporter";
    for arguments in [
        &[name, "--forward-to", "http://user:s3cret@app:8080"][..],
        &[name, "--forward-to=http://app/?token=s3cret"],
        &[name, "http://user:s3cret@app:8080"],
    ] {
        let error = CommandLine::read_from(arguments).expect_err("no base URL").to_string();
        assert!(error.contains("http://app") && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn hashing_needs_a_key() {
    let error = Config::try_parse_from(["planet-call-exporter", "--identity", "hash"]).expect_err("no key");
    assert!(error.to_string().contains("--identity-key-file"));
}
