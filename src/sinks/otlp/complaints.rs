//! What a receiver says of what it does not take, in the log: once, and again if it says something else or after a long time.

use std::time::Duration;

use tracing::warn;

use super::answer::Taken;
use super::client::OtlpClient;
use crate::config::otlp::Signal;
use crate::http::pace::{LeftOut, Pace};
use crate::http::peer::for_people;

/// After this time the same is said again.
const AGAIN: Duration = Duration::from_secs(3_600);

/// What one receiver says.
#[derive(Debug)]
pub struct Complaints {
    signal: Signal,
    endpoint: String,
    repeats: Pace,
}

impl Complaints {
    /// Nothing yet, by the receiver of this client.
    pub fn of(client: &OtlpClient) -> Complaints {
        Complaints {
            signal: client.signal(),
            endpoint: client.destination().to_string(),
            repeats: Pace::new(AGAIN),
        }
    }

    /// Notes what was not taken of a message that was, and whatever else the receiver had to say.
    pub fn note_taken(&mut self, taken: &Taken) {
        if *taken == Taken::default() {
            return;
        }
        let (rejected, reason) = (taken.rejected, for_people(&taken.message));
        let text = format!("{} {reason}", rejected > 0);
        let Some(LeftOut { times, number }) = self.repeats.note(&text, rejected) else {
            return;
        };
        let (signal, endpoint, refused) = (self.signal.as_str(), &self.endpoint, rejected + number);
        match rejected {
            0 => {
                warn!(signal, %endpoint, ?reason, left_out = times, "the OTLP receiver took everything and says something")
            }
            _ => warn!(
                signal, %endpoint, refused, ?reason, left_out = times,
                "the OTLP receiver refused some of the {}; they are dropped", self.signal.items()
            ),
        }
    }

    /// Notes that a whole message was refused. `reason` says where and why.
    pub fn note_refused(&mut self, reason: &str) {
        if let Some(LeftOut { times, .. }) = self.repeats.note(reason, 0) {
            let (signal, items) = (self.signal.as_str(), self.signal.items());
            warn!(signal, error = %reason, left_out = times, "the OTLP receiver refused the {items}");
        }
    }
}
