//! What /proc says of a process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Result;

/// How often threads are looked at that may end.
const LOOK: Duration = Duration::from_millis(200);

/// The time of a processor that it has taken, in user and system mode and with threads that have ended, whatever else
/// the machine does. Its clock ticks a hundred times a second.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("no name in stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<std::result::Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}

/// What a process takes while something is done, to the nanosecond. Threads that end are looked at before.
pub(crate) fn time_taken<T>(id: u32, work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let before = threads_times(id)?;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut times = BTreeMap::new();
            loop {
                let is_last = is_done.load(Ordering::Relaxed);
                // A thread may end while it is looked at, and the others are looked at again.
                if let Ok(now) = threads_times(id) {
                    times.extend(now);
                }
                if is_last {
                    return times;
                }
                std::thread::sleep(LOOK);
            }
        });
        let result = work();
        is_done.store(true, Ordering::Relaxed);
        let times = looking.join().map_err(|_| "the look at threads failed")?;
        let of = |(thread, time): (&PathBuf, &u64)| time - before.get(thread).unwrap_or(&0);
        Ok((result?, Duration::from_nanos(times.iter().map(of).sum())))
    })
}

fn threads_times(id: u32) -> Result<BTreeMap<PathBuf, u64>> {
    let mut times = BTreeMap::new();
    for thread in threads(id)? {
        let schedstat = std::fs::read_to_string(thread.join("schedstat"))?;
        times.insert(thread, schedstat.split(' ').next().ok_or("nothing in schedstat")?.parse()?);
    }
    Ok(times)
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
