//! The domain, pure: what a call event of LINE Planet says, and what it means.
//!
//! [`call_event`] reads the query string of the callback into a [`CallEvent`]; [`reason`] holds the published tables
//! (disconnect reasons, releasers, Q.850 causes) and the fault domains derived from them; [`anomaly`] names what
//! is odd about an event without being wrong; [`labels`] is what metrics say of a call.
//! Nothing here does input or output, keeps state or reads a clock.

pub mod anomaly;
pub mod call_event;
pub mod envelope;
pub mod labels;
pub mod reason;
pub mod record;

pub use anomaly::{Anomalies, Anomaly};
pub use call_event::sid::Sid;
pub use call_event::{CallEvent, NotACall};
pub use record::Record;
