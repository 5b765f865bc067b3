//! What /proc says of a process.

use std::path::PathBuf;
use std::time::Duration;

use super::Result;

/// The time of a processor that its threads have taken, whatever else the machine does.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in threads(id)? {
        let stat = std::fs::read_to_string(thread.join("schedstat"))?;
        nanoseconds += stat.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// A line of its status, in KiB.
pub(crate) fn status_kib(id: u32, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim_end_matches("kB").trim().parse()?)
}

/// The directories of its threads.
pub(crate) fn threads(id: u32) -> Result<Vec<PathBuf>> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task"))?;
    Ok(threads.map(|thread| Ok(thread?.path())).collect::<std::io::Result<_>>()?)
}

/// It, its children and theirs.
pub(crate) fn family(id: u32) -> Result<Vec<u32>> {
    let mut family = vec![id];
    for thread in threads(id)? {
        for child in std::fs::read_to_string(thread.join("children"))?.split_whitespace() {
            family.extend(self::family(child.parse()?)?);
        }
    }
    Ok(family)
}
