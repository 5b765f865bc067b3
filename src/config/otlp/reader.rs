//! How values are read: what cannot be is said, and it is treated as unset; and what was set in vain is said in the end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::variables::{self, PREFIX, Role, Variable};
use super::{Push, Signal};
use crate::config::environment::{Environment, nearest};
use crate::config::remark::{InvalidVariable, Remark};

/// Values of variables.
pub(super) struct Reader<'a> {
    environment: &'a Environment,
    followed: RefCell<BTreeSet<String>>,
    remarks: RefCell<Vec<Remark>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a Environment) -> Reader<'a> {
        Reader { environment, followed: RefCell::default(), remarks: RefCell::default() }
    }

    /// The first of a variable's names that is set, and its value, which is followed.
    pub(super) fn given(&self, variable: &Variable, signal: Option<Signal>) -> Option<(String, &'a str)> {
        let given = |name: String| Some((self.environment.get(&name)?, name));
        let (value, name) = variable.names(signal).into_iter().find_map(given)?;
        self.followed.borrow_mut().insert(name.clone());
        Some((name, value.trim()))
    }

    /// What `read` makes of a variable in its form for the signal or, failing that, in its general form, if it is set.
    fn set<T>(
        &self,
        variable: &Variable,
        signal: Option<Signal>,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let given = |name: String| Some((self.environment.get(&name)?.trim(), name));
        let mut names = variable.names(signal).into_iter().filter_map(given).peekable();
        while let Some((value, name)) = names.next() {
            if let Some(value) = read(value) {
                self.followed.borrow_mut().insert(name);
                return Some(value);
            }
            let instead = match (names.peek(), variable.default()) {
                (Some((_, general)), _) => format!("{general} holds"),
                (None, "") => "it is treated as unset".to_owned(),
                (None, default) => format!("the default, {default}, applies"),
            };
            self.note_invalid(name, value, expected, instead);
        }
        None
    }

    /// The same, and otherwise what it makes of the default.
    fn value<T: Default>(
        &self,
        variable: &Variable,
        signal: Option<Signal>,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> T {
        let set = self.set(variable, signal, expected, &read);
        set.or_else(|| read(variable.default())).unwrap_or_default()
    }

    /// A value out of several. Case does not matter.
    pub(super) fn choice<T: Copy + Default>(
        &self,
        variable: &Variable,
        signal: Option<Signal>,
        choices: &[(&str, T)],
    ) -> T {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let expected = match names.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        };
        let is_same = |text: &str, name: &str| text.eq_ignore_ascii_case(name);
        let read = |text: &str| choices.iter().find(|(name, _)| is_same(text, name)).map(|(_, value)| *value);
        self.value(variable, signal, &expected, read)
    }

    pub(super) fn boolean(&self, variable: &Variable, signal: Option<Signal>) -> bool {
        self.choice(variable, signal, &[("true", true), ("false", false)])
    }

    /// A whole number within a range.
    pub(super) fn number(
        &self,
        variable: &Variable,
        signal: Option<Signal>,
        range: RangeInclusive<u64>,
    ) -> u64 {
        self.value(variable, signal, &whole_number(&range), |text| number_in(text, &range))
    }

    /// The same of a variable that has no default.
    pub(super) fn number_if_set(&self, variable: &Variable, range: RangeInclusive<u64>) -> Option<u64> {
        self.set(variable, None, &whole_number(&range), |text| number_in(text, &range))
    }

    /// A ratio from 0 to 1.
    pub(super) fn ratio(&self, variable: &Variable) -> f64 {
        let is_ratio = |number: &f64| (0.0..=1.0).contains(number);
        let read = |text: &str| text.parse().ok().filter(is_ratio);
        self.value(variable, None, "a number from 0 to 1, such as 0.25", read)
    }

    /// Says so if anything else is asked for than what there is.
    pub(super) fn nothing_but_the_default(&self, variable: &Variable, instead: &str) {
        if let Some((name, value)) = self.given(variable, None)
            && !value.eq_ignore_ascii_case(variable.default())
        {
            self.note_invalid(name, value, variable.default(), instead.to_owned());
        }
    }

    pub(super) fn note_invalid(&self, variable: String, given: &str, expected: &str, instead: String) {
        let (given, expected) = (given.to_owned(), expected.to_owned());
        self.note(Remark::Invalid(InvalidVariable { variable, given, expected, instead }));
    }

    /// Notes it once, though several signals bring it about.
    pub(super) fn note(&self, remark: Remark) {
        let mut remarks = self.remarks.borrow_mut();
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }

    /// Everything that is to be said, with what was set in vain.
    pub(super) fn finish(self, pushes: &[(Signal, &Push)]) -> Vec<Remark> {
        let in_vain = self.environment.names(PREFIX).filter_map(|name| self.in_vain(name, pushes));
        let in_vain: Vec<Remark> = in_vain.collect();
        let mut remarks = self.remarks.into_inner();
        remarks.extend(in_vain);
        remarks
    }

    /// Why this variable is without effect, if it is and that has not been said.
    fn in_vain(&self, name: &str, pushes: &[(Signal, &Push)]) -> Option<Remark> {
        let Some((variable, signals)) = variables::find(name) else {
            let known = variables::all().flat_map(names_to_suggest).collect::<Vec<_>>();
            let nearest = nearest(name, PREFIX, known.iter().map(String::as_str));
            return Some(Remark::Unknown { variable: name.to_owned(), nearest });
        };
        let without_effect =
            |reason: String| Some(Remark::WithoutEffect { variable: name.to_owned(), reason });
        let Role::Followed { only, .. } = variable.role else {
            let Role::Unused(reason) = variable.role else { return None };
            return without_effect(reason.to_owned());
        };
        if self.is_said(name) {
            return None;
        }
        let concerned: Vec<_> = pushes.iter().filter(|(signal, _)| signals.contains(signal)).collect();
        let off: BTreeSet<String> =
            concerned.iter().filter_map(|(signal, push)| push.why_off(*signal)).collect();
        if !concerned.is_empty() && off.len() == concerned.len() {
            return without_effect(off.into_iter().collect::<Vec<_>>().join("; "));
        }
        // Of a destination that cannot be used not everything was read.
        let is_unread = concerned.iter().any(|(_, push)| matches!(push, Push::Misconfigured));
        if self.followed.borrow().contains(name) || is_unread {
            return None;
        }
        match only {
            "" => without_effect("its forms for the signals that are pushed are set".to_owned()),
            only => without_effect(format!("it has one {only}")),
        }
    }

    /// Whether something was said of its value.
    fn is_said(&self, name: &str) -> bool {
        self.remarks.borrow().iter().any(|remark| match remark {
            Remark::Fatal(invalid) | Remark::Invalid(invalid) => invalid.variable == name,
            Remark::Unknown { .. } | Remark::WithoutEffect { .. } => false,
        })
    }
}

/// The names of a variable that somebody may have meant.
fn names_to_suggest(variable: &'static Variable) -> Vec<String> {
    match (variable.role, variable.has_forms) {
        (Role::Unused(_), _) => Vec::new(),
        (Role::Followed { .. }, false) => vec![variable.name.to_owned()],
        (Role::Followed { .. }, true) => {
            let forms = Signal::ALL.map(|signal| variable.form(signal));
            forms.into_iter().chain([variable.name.to_owned()]).collect()
        }
    }
}

fn number_in(text: &str, range: &RangeInclusive<u64>) -> Option<u64> {
    text.parse().ok().filter(|number| range.contains(number))
}

fn whole_number(range: &RangeInclusive<u64>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}
