//! The memory of the process, and what each part of the server may have of it: one budget, shared out at the start, so
//! that no load of one part makes the system end the process (contract A1, shares and limits).
//!
//! Each part counts what it holds and refuses more: the tail (429), requests (429, 503), queries (422 for the limit of one,
//! 503 for that of all); caches let go of what is oldest. What a flush, a merge and a replay need while they run is set
//! aside. Together the shares are the whole, so the sum of what is counted never exceeds it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of what the process may have. The rest is for what is not counted: code, stacks, what the allocator keeps.
const PERCENT: usize = 60;
/// Below this a server does nothing of use.
const LEAST: usize = 128 << 20;

/// How the whole is shared out, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) total: usize,
    /// What is logged but not in files yet.
    pub(crate) tail: usize,
    /// What flushes, merges and replays need while they run.
    pub(crate) writing: usize,
    /// Bodies and answers.
    pub(crate) requests: usize,
    /// All queries together.
    pub(crate) queries: usize,
    /// One query.
    pub(crate) query: usize,
    pub(crate) cache: usize,
}

/// What the operator has set, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given {
    pub(crate) total: Option<usize>,
    pub(crate) tail: Option<usize>,
    pub(crate) requests: Option<usize>,
    pub(crate) query: Option<usize>,
    pub(crate) cache: Option<usize>,
}

impl Plan {
    /// `available` is what the process may have at most, `largest_request` what requests need in any case.
    ///
    /// # Errors
    /// What the operator has to change.
    pub(crate) fn new(given: Given, available: usize, largest_request: usize) -> Result<Plan, String> {
        let total = given.total.unwrap_or(available / 100 * PERCENT).max(LEAST);
        let part = |percent: usize, most: usize| (total / 100 * percent).min(most);
        let tail = given.tail.unwrap_or(part(20, 512 << 20));
        let cache = given.cache.unwrap_or(part(10, 256 << 20));
        let requests = given.requests.unwrap_or(part(20, 512 << 20)).max(largest_request);
        // A flush holds the rows of half a tail as columns, and as encoded pages.
        let writing = part(15, tail.max(64 << 20));
        let taken = tail.saturating_add(cache).saturating_add(requests).saturating_add(writing);
        let queries = total.checked_sub(taken).filter(|left| *left >= total / 10).ok_or_else(|| {
            format!(
                "the memory of {total} bytes leaves too little for queries beside the tail ({tail}), requests \
                 ({requests}), caches ({cache}) and writing ({writing}); raise --memory-bytes, or lower the others"
            )
        })?;
        // Two of them at once fit, and the limit of one is met before that of all.
        let query = given.query.unwrap_or((queries / 2).min(1 << 30)).min(queries);
        Ok(Plan { total, tail, writing, requests, queries, query, cache })
    }
}

/// What this process may have: the limit of its cgroup (v2 or v1), or the machine's memory.
pub(crate) fn available() -> usize {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> usize {
    let read = |path: &Path| fs::read_to_string(root.join(path.strip_prefix("/").unwrap_or(path))).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
    });
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            named if named.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        // Within a container the group's own path may not be there, only what the mount shows; the parents limit too.
        let group = Path::new(group.trim_start_matches('/'));
        let places = group.ancestors().map(|group| Path::new(mount).join(group).join(file));
        places.filter_map(|place| read(&place)?.trim().parse::<usize>().ok()).collect()
    });
    limits.chain(machine).min().unwrap_or(1 << 30)
}

/// A part that is counted where it is taken and given back.
#[derive(Debug)]
pub(crate) struct Budget {
    capacity: usize,
    held: AtomicUsize,
    most: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(capacity: usize) -> Budget {
        Budget { capacity, held: AtomicUsize::new(0), most: AtomicUsize::new(0) }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// What is held now, and the most that ever was.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.held.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed))
    }

    /// False, and nothing is taken, where it would be more than there is.
    pub(crate) fn try_take(&self, bytes: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|all| *all <= self.capacity);
        // Only the number itself matters.
        let taken = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if let Ok(before) = taken {
            self.most.fetch_max(before + bytes, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// What is there already, and can only be counted.
    pub(crate) fn take_anyway(&self, bytes: usize) {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        self.most.fetch_max(before.saturating_add(bytes), Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        let less = |held: usize| Some(held.saturating_sub(bytes));
        // It always gives a number.
        let _ = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LARGEST: usize = 36 << 20;

    #[test]
    fn the_shares_are_the_whole() {
        for available in [256 << 20, 1 << 30, 4 << 30, 24 << 30, 1 << 40] {
            let plan = Plan::new(Given::default(), available, LARGEST).unwrap();
            assert_eq!(plan.tail + plan.writing + plan.requests + plan.queries + plan.cache, plan.total, "{plan:?}");
            assert!(plan.total <= available && plan.query <= plan.queries && plan.requests >= LARGEST, "{plan:?}");
        }
        let given = Given { total: Some(1 << 30), tail: Some(100 << 20), query: Some(1_000_000), ..Given::default() };
        let plan = Plan::new(given, 1 << 40, LARGEST).unwrap();
        assert_eq!((plan.total, plan.tail, plan.query), (1 << 30, 100 << 20, 1_000_000));
        for given in [
            Given { total: Some(1 << 30), tail: Some(1 << 30), ..Given::default() },
            Given { total: Some(1 << 30), cache: Some(usize::MAX), ..Given::default() },
        ] {
            assert!(Plan::new(given, 1 << 40, LARGEST).unwrap_err().contains("--memory-bytes"));
        }
    }

    #[test]
    fn the_least_limit_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(available_below(folder.path()), 1 << 30);
        write("proc/meminfo", "MemTotal:       2097152 kB\nMemFree: 1 kB\n");
        assert_eq!(available_below(folder.path()), 2 << 30);
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(available_below(folder.path()), 2 << 30);
        write("sys/fs/cgroup/a/memory.max", "1073741824\n");
        assert_eq!(available_below(folder.path()), 1 << 30);
        write("proc/self/cgroup", "3:cpu:/x\n4:memory:/y\n0::/\n");
        write("sys/fs/cgroup/memory/y/memory.limit_in_bytes", "536870912\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(available_below(folder.path()), 512 << 20);
    }

    #[test]
    fn a_budget_never_holds_more_than_it_has() {
        let budget = Arc::new(Budget::new(10_000));
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let budget = Arc::clone(&budget);
                scope.spawn(move || {
                    for round in 0..20_000_usize {
                        let bytes = (round * 37 * thread) % 4_000;
                        if budget.try_take(bytes) {
                            assert!(budget.held().0 <= 10_000);
                            budget.give_back(bytes);
                        }
                    }
                });
            }
        });
        let (held, most) = budget.held();
        assert_eq!(held, 0);
        assert!((1..=10_000).contains(&most), "{most}");
    }
}
