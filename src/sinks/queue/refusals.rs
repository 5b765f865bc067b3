//! How often an event was refused.

/// How often an event was refused alone, counted only if others passed since the time before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    count: u32,
    passed: u32,
}

impl Refusals {
    /// Takes in a refusal, when this many batches have passed so far; answers how many refusals count.
    pub fn note(&mut self, passed: u32) -> u32 {
        if self.count == 0 || passed != self.passed {
            self.count = self.count.saturating_add(1);
        }
        self.passed = passed;
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_only_if_others_passed_since_the_one_before() {
        let mut refusals = Refusals::default();
        let counts: Vec<u32> = [7, 7, 7, 8, 8, 9, 12].map(|passed| refusals.note(passed)).into();
        assert_eq!(counts, [1, 1, 1, 2, 2, 3, 4]);
    }
}
