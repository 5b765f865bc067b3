//! call-simulator on the second core, which sends calls at their own time, however long answers take.

use std::process::Command;

use super::Result;

/// How long answers took, in milliseconds from the time at which a call was due.
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Sends so many calls a second to this URL, for so many seconds. Each has to be acknowledged.
pub(crate) fn send(url: &str, rate: u32, seconds: u32) -> Result<Latency> {
    let output = Command::new("taskset")
        .args(["-c", "1", env!("CARGO_BIN_EXE_call-simulator"), "--json", "--target", url])
        .args(["--rate", &rate.to_string(), "--for", &format!("{seconds}s"), "--connections", "16"])
        .args(["--odd-share", "0", "--repeat-share", "0"])
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    if report["acknowledged"] != report["sent"] {
        return Err(
            format!("{} of {} calls were acknowledged", report["acknowledged"], report["sent"]).into()
        );
    }
    let milliseconds = |name: &str| report["latency_seconds"][name].as_f64().map(|seconds| seconds * 1e3);
    Ok(Latency { p50: milliseconds("p50").ok_or("no p50")?, p99: milliseconds("p99").ok_or("no p99")? })
}
