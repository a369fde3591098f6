//! How many files and connections this process may have open at once.

use rlimit::Resource;

/// Descriptors that connections leave to the store, to queries and to the runtime.
const RESERVE: u64 = 256;

/// As far as an ordinary user may.
pub(crate) fn raise_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// As many of `wanted` as there are descriptors for.
pub(crate) fn connections_that_fit(wanted: u64) -> u64 {
    let Ok((limit, _)) = Resource::NOFILE.get() else { return wanted };
    let fit = fit(limit, wanted);
    if fit < wanted {
        tracing::warn!(
            max_connections = fit,
            wanted,
            limit,
            "fewer connections than asked for: too few files may be open"
        );
    }
    fit
}

fn fit(limit: u64, wanted: u64) -> u64 {
    let reserve = RESERVE.min(limit / 2);
    wanted.min(limit - reserve).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_store() {
        for (limit, wanted, fits) in [(1 << 20, 4_096, 4_096), (4_352, 4_096, 4_096), (1_024, 4_096, 768)] {
            assert_eq!(fit(limit, wanted), fits, "{limit}");
        }
        for (limit, fits) in [(256, 128), (100, 50), (1, 1), (0, 1)] {
            assert_eq!(fit(limit, 4_096), fits, "{limit}");
        }
    }
}
