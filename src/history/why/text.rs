//! The answer in words.

use std::fmt::{self, Display, Formatter};

use super::{FEWEST, Finding, HowTheyFailed, SharedValue, Why};
use crate::callback::call_event::Parameter;
use crate::history::share::Share;

/// What two numbers say of a value.
pub(super) fn sentence(parameter: &str, value: Option<&str>, failing: Share, others: Share) -> String {
    let has = match (value, parameter) {
        (Some(value), _) => format!("have {parameter}={value}"),
        (None, "to_user_id") => "go to one callee".to_owned(),
        (None, _) => "come from one caller".to_owned(),
    };
    let (number, of_failing, of_others) = (failing.of, failing.percent(), others.percent());
    format!("{of_failing} of {number} failing calls {has}, and {of_others} of the {} others", others.of)
}

/// What two numbers say of calls that have both.
pub(super) fn of_both(one: &SharedValue, other: &SharedValue, failing: Share, others: Share) -> String {
    let has = |value: &SharedValue| match &value.value {
        Some(text) => format!("{}={text}", value.parameter),
        None => format!("one {}", value.parameter),
    };
    let (one, other, of_failing, of_others) = (has(one), has(other), failing.percent(), others.percent());
    format!(
        "{of_failing} of {} failing calls have both {one} and {other}, and {of_others} of the {} others",
        failing.of, others.of
    )
}

/// The answer in a sentence.
pub(super) fn summary(failing: u64, others: u64, findings: &[Finding]) -> String {
    let calls = failing + others;
    match findings.first() {
        Some(finding) => finding.value.text.clone(),
        None if calls == 0 => "No calls.".to_owned(),
        None if failing == 0 => format!("None of {calls} calls failed."),
        None if failing < FEWEST => {
            format!(
                "Too few to tell: {failing} of {calls} calls failed, and it takes {FEWEST}. Look further back, with more minutes."
            )
        }
        None if others < FEWEST => {
            format!(
                "Nothing to compare with: {failing} of {calls} calls failed, whatever they have in common."
            )
        }
        None => format!(
            "Nothing stands out: {failing} of {calls} calls failed, and have no more in common than the others."
        ),
    }
}

impl Display for Why {
    /// For people, a line each.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Why { since, until, calls, failing, failing_callers, unreadable, .. } = self;
        writeln!(
            formatter,
            "{since} to {until}: {failing} of {calls} calls failed, of {failing_callers} callers"
        )?;
        if !self.is_complete {
            writeln!(formatter, "earlier calls are not kept any more, or too many")?;
        }
        if *unreadable > 0 {
            writeln!(formatter, "{unreadable} calls could not be read")?;
        }
        match self.findings.is_empty() {
            true => writeln!(formatter, "\n{}", self.summary)?,
            false => writeln!(formatter, "\nWhat they have in common that the others have not:")?,
        }
        for Finding { value, together, same_calls, goes_with_it } in &self.findings {
            writeln!(formatter, "- {}{}", value.text, people(value))?;
            together.iter().try_for_each(|both| writeln!(formatter, "    together: {}", both.text))?;
            same_calls
                .iter()
                .try_for_each(|same| writeln!(formatter, "    the same calls: {}", same.text))?;
            goes_with_it
                .iter()
                .try_for_each(|with| writeln!(formatter, "    goes with it: {}", with.text))?;
        }
        if *failing > 0 {
            writeln!(formatter, "\nHow they failed:")?;
            self.how_they_failed.iter().try_for_each(|how| write_how(how, *failing, formatter))?;
            writeln!(formatter, "\nNext:")?;
            self.next.iter().try_for_each(|path| writeln!(formatter, "- {path}"))?;
        }
        Ok(())
    }
}

/// How many people, where that is known to be few.
fn people(value: &SharedValue) -> String {
    match value.people {
        people @ 2..64 if value.parameter == Parameter::DstIp.name() => {
            format!(" ({people} different callees)")
        }
        people @ 2..64 => format!(" ({people} different callers)"),
        _ => String::new(),
    }
}

fn write_how(how: &HowTheyFailed, failing: u64, formatter: &mut Formatter<'_>) -> fmt::Result {
    let shown = |calls: u64| Share::new(calls, failing).percent();
    let mut values: Vec<_> =
        how.values.iter().map(|end| format!("{} {}", end.value, shown(end.calls))).collect();
    if how.others > 0 {
        values.push(format!("others {}", shown(how.others)));
    }
    writeln!(formatter, "- {}: {}", how.name, values.join(", "))
}
