//! Who the telemetry comes from.
//!
//! Source: OpenTelemetry specification, "Resource SDK". The SDK's own detectors do not decode what the variable says,
//! and take what is malformed for less.

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use percent_encoding::percent_decode_str;

use super::reader::Reader;
use super::variables::{RESOURCE_ATTRIBUTES, SERVICE_NAME};

const SERVICE: Key = Key::from_static_str("service.name");
const VERSION: Key = Key::from_static_str("service.version");
/// Which instance it is.
pub(super) const INSTANCE: Key = Key::from_static_str("service.instance.id");

/// What the environment says, and a default where it says nothing. Which instance it is, is known later.
pub(super) fn resource(reader: &Reader<'_>) -> Resource {
    let mut attributes = vec![
        KeyValue::new(SERVICE, SERVICE_NAME.default()),
        KeyValue::new(VERSION, env!("CARGO_PKG_VERSION")),
    ];
    attributes.extend(from_environment(reader));
    if let Some((_, name)) = reader.given(&SERVICE_NAME, None) {
        attributes.push(KeyValue::new(SERVICE, name.to_owned()));
    }
    // Of two attributes of one name the later one holds.
    let builder = Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector));
    builder.with_attributes(attributes).build()
}

/// The resource with one more attribute.
pub(super) fn with(resource: &Resource, name: Key, value: String) -> Resource {
    let known = resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let attributes = known.chain([KeyValue::new(name, value)]).collect::<Vec<_>>();
    Resource::builder_empty().with_attributes(attributes).build()
}

/// All that the variable says, or nothing if any of it is malformed.
fn from_environment(reader: &Reader<'_>) -> Vec<KeyValue> {
    let Some((variable, given)) = reader.given(&RESOURCE_ATTRIBUTES, None) else { return Vec::new() };
    let pairs = given.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs.map(attribute).collect::<Option<_>>().unwrap_or_else(|| {
        let expected =
            "name=value pairs joined by commas, percent-encoded where they have a comma, = or % in them";
        reader.note_invalid(variable, given, expected, "none of it is taken".to_owned());
        Vec::new()
    })
}

fn attribute(pair: &str) -> Option<KeyValue> {
    let (name, value) = pair.split_once('=')?;
    let name = decoded(name.trim()).filter(|name| !name.is_empty())?;
    Some(KeyValue::new(name, decoded(value.trim())?))
}

/// A text without its percent-encoding, if that is sound.
fn decoded(text: &str) -> Option<String> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let is_sound = |(at, _): (usize, &str)| {
        let behind = &text.as_bytes()[at + 1..];
        is_digit(behind.first()) && is_digit(behind.get(1))
    };
    if !text.match_indices('%').all(is_sound) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;

    fn attributes(variables: &[(&str, &str)]) -> (Resource, usize) {
        let environment: Environment = variables.iter().copied().collect();
        let reader = Reader::new(&environment);
        let resource = resource(&reader);
        (resource, reader.finish(&[]).len())
    }

    fn value(resource: &Resource, name: &'static str) -> Option<String> {
        resource.get(&Key::from_static_str(name)).map(|value| value.to_string())
    }

    #[test]
    fn attributes_are_decoded_and_the_service_name_has_a_variable_of_its_own() {
        let given =
            (RESOURCE_ATTRIBUTES.name, "service.name=a,team=x%2Cy%3Dz%25, b = c = d ,,service.version=7,");
        let (resource, remarks) = attributes(&[given]);
        let of = |name| value(&resource, name);
        assert_eq!(of("service.name").as_deref(), Some("a"));
        assert_eq!(of("team").as_deref(), Some("x,y=z%"));
        assert_eq!((of("b").as_deref(), of("service.version").as_deref()), (Some("c = d"), Some("7")));
        assert_eq!(remarks, 0);
        let (resource, _) = attributes(&[given, (SERVICE_NAME.name, "calls")]);
        assert_eq!(value(&resource, "service.name").as_deref(), Some("calls"));
    }

    #[test]
    fn of_what_is_malformed_nothing_is_taken_and_that_is_said() {
        for given in ["a=b,c", "a=b,=c", "a=b,c=%zz", "a=b,c=%2", "a=b,c=100%", "a=b,c=%ff"] {
            let (resource, remarks) = attributes(&[(RESOURCE_ATTRIBUTES.name, given)]);
            assert_eq!((value(&resource, "a"), remarks), (None, 1), "{given}");
            assert_eq!(value(&resource, "service.name").as_deref(), Some(env!("CARGO_PKG_NAME")));
            assert_eq!(value(&resource, "telemetry.sdk.language").as_deref(), Some("rust"));
        }
    }
}
