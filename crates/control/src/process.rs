//! What the system knows of this process, from /proc (Linux, proc(5)); `None` elsewhere.

use std::fs;

/// Resident memory in bytes: second field of /proc/self/statm, which counts pages.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// Resident memory that no file backs, in bytes: `RssAnon` of /proc/self/status.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let rest = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Open files, sockets included.
pub(crate) fn open_files() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    // One of them is the directory that is being read.
    Some((entries.count() as u64).saturating_sub(1))
}

/// How many files may be open at once.
pub(crate) fn open_files_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Load averages of the last 1, 5 and 15 minutes: /proc/loadavg.
pub(crate) fn load_averages() -> Option<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let mut words = text.split_ascii_whitespace().map(str::parse);
    let mut next = || words.next()?.ok();
    Some([next()?, next()?, next()?])
}

/// Memory of the machine and what of it is available, in bytes: /proc/meminfo.
pub(crate) fn machine_memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_contains_what_no_file_backs() {
        let (resident, anonymous) = (resident_bytes(), anonymous_bytes());
        assert!(anonymous > Some(0));
        assert!(resident > Some(64 * 1024) && resident < Some(1 << 40), "{resident:?}");
    }

    #[test]
    fn the_machine_has_load_and_memory() {
        assert!(load_averages().is_some_and(|load| load.iter().all(|load| *load >= 0.0)));
        assert!(machine_memory().is_some_and(|(total, available)| total > available));
    }

    #[test]
    fn an_opened_file_is_counted() {
        let held: Vec<_> =
            (0..64).filter_map(|_| fs::File::open("/proc/self/status").ok()).collect();
        assert!(open_files() >= Some(held.len() as u64 + 3), "{:?}", open_files());
        assert!(open_files_limit() >= open_files());
    }
}
