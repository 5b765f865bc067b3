//! What /proc says of a process.

use std::path::PathBuf;
use std::time::Duration;

use super::Result;

/// The time of a processor that it has taken, in user and system mode and with threads that have ended, whatever else
/// the machine does. Its clock ticks a hundred times a second.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("no name in stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<std::result::Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
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
