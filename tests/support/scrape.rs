//! Reads a page of metrics in text format 0.0.4, strictly: what it cannot read fails the test.

use std::collections::BTreeMap;

/// A series: the name of a sample and its labels.
pub type Series = (String, BTreeMap<String, String>);

/// A page of metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    samples: BTreeMap<Series, f64>,
    /// The series in the order of the page.
    pub order: Vec<Series>,
    /// The type of each family.
    pub types: BTreeMap<String, String>,
}

impl Page {
    /// Reads a page; panics at a line that is none of the format, and at a series that is there twice.
    pub fn read(text: &str) -> Page {
        let mut page = Page::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                let kind = comment.strip_prefix("TYPE ").and_then(|kind| kind.split_once(' '));
                page.types.extend(kind.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
                continue;
            }
            let (series, value) = read_sample(line).unwrap_or_else(|| panic!("no sample: {line}"));
            page.order.push(series.clone());
            let before = page.samples.insert(series, value);
            assert_eq!(before, None, "the series is there twice: {line}");
        }
        page
    }

    /// The value of the series with exactly these labels, if it is there.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples.get(&series(name, labels)).copied()
    }

    /// The value of the series with exactly these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no series {name} with {labels:?}"))
    }

    /// The series of this name with their values.
    pub fn named(&self, name: &str) -> BTreeMap<BTreeMap<String, String>, f64> {
        let of_name = self.samples.iter().filter(|((known, _), _)| known == name);
        of_name.map(|((_, labels), value)| (labels.clone(), *value)).collect()
    }

    /// The sum over the series of this name.
    pub fn sum(&self, name: &str) -> f64 {
        self.named(name).values().sum()
    }

    /// Every series whose name begins with `prefix`, with its value.
    pub fn beginning_with(&self, prefix: &str) -> BTreeMap<Series, f64> {
        let samples = self.samples.iter().filter(|((name, _), _)| name.starts_with(prefix));
        samples.map(|(series, value)| (series.clone(), *value)).collect()
    }
}

/// The series with this name and these labels.
pub fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    (name.to_owned(), labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn read_sample(line: &str) -> Option<(Series, f64)> {
    let (name, labels, value) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, value) = read_labels(rest)?;
            (name, labels, value)
        }
        None => {
            let (name, value) = line.split_once(' ')?;
            (name, BTreeMap::new(), value)
        }
    };
    Some(((name.to_owned(), labels), value.trim_start().parse().ok()?))
}

/// Reads labels up to the closing brace; also answers what is behind it.
fn read_labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    _ => return None,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}
