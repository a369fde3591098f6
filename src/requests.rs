//! How many requests the object store has got, by kind. A remote store bills them, and each takes its time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a request is. Each is of one kind only; what a client of a store tries again by itself counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A whole object.
    Put,
    /// The begin, a part, or the end of an object that is put in parts.
    Part,
    /// An object, or ranges of one.
    Get,
    /// Whether an object is there, and how large it is.
    Head,
    /// A prefix, however many pages it has.
    List,
    /// An object; stores take many in one request.
    Delete,
    Copy,
}

impl Request {
    pub(crate) const ALL: [Request; 7] =
        [Request::Put, Request::Part, Request::Get, Request::Head, Request::List, Request::Delete, Request::Copy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Request::Put => "put",
            Request::Part => "part",
            Request::Get => "get",
            Request::Head => "head",
            Request::List => "list",
            Request::Delete => "delete",
            Request::Copy => "copy",
        }
    }
}

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    counts: [AtomicU64; Request::ALL.len()],
}

impl Requests {
    pub(crate) fn count(&self, request: Request) {
        // No other memory depends on it.
        if let Some(count) = self.counts.get(request as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn of(&self, request: Request) -> u64 {
        self.counts.get(request as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

/// For the log.
impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, request) in Request::ALL.into_iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{} {:?}", self.of(request), request)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_count() {
        let requests = Requests::default();
        for (times, request) in Request::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| requests.count(request));
        }
        assert!(Request::ALL.into_iter().map(|request| requests.of(request)).eq(0..7));
    }
}
