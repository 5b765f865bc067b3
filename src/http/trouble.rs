//! What is amiss with something that others look at: since when, and why.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::peer::for_people;

/// What is amiss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// When it began.
    pub since: SystemTime,
    /// Why, as far as was said last.
    pub reason: String,
}

/// Whether something is amiss, for whoever looks.
#[derive(Debug, Default)]
pub struct Condition(Mutex<Option<Trouble>>);

impl Condition {
    /// Something is amiss, now or still.
    pub fn note_trouble(&self, reason: &dyn Display) {
        let reason = for_people(&reason.to_string());
        let mut trouble = self.lock();
        match &mut *trouble {
            Some(trouble) => trouble.reason = reason,
            None => *trouble = Some(Trouble { since: SystemTime::now(), reason }),
        }
    }

    /// Nothing is.
    pub fn note_well(&self) {
        *self.lock() = None;
    }

    /// What is amiss, if anything is.
    pub fn trouble(&self) -> Option<Trouble> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_since_it_began_whatever_is_said_of_it() {
        let condition = Condition::default();
        assert_eq!(condition.trouble(), None);
        condition.note_trouble(&"refused");
        let began = condition.trouble().expect("a trouble");
        condition.note_trouble(&"timed\nout");
        assert_eq!(condition.trouble(), Some(Trouble { reason: "timed out".to_owned(), ..began }));
        condition.note_well();
        assert_eq!(condition.trouble(), None);
    }
}
