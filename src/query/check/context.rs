//! What the parts of one request share while it is checked.

use std::cell::Cell;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::query::dsl::{TimeStep, TimeUnit};
use crate::query::functions::zone::ZoneBuckets;

/// The clock and calendar that a request is read by, and what was found in it so far.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) time_zone: TimeZone,
    pub(crate) week_start: Weekday,
    extension: Cell<Option<&'static str>>,
    conditions: Cell<usize>,
    value_bytes: Cell<usize>,
}

impl Context {
    pub(crate) fn new(time_zone: TimeZone, week_start: Weekday) -> Context {
        Context {
            time_zone,
            week_start,
            extension: Cell::default(),
            conditions: Cell::default(),
            value_bytes: Cell::default(),
        }
    }

    /// Of a request that names neither.
    pub(crate) fn utc() -> Context {
        Context::new(TimeZone::UTC, Weekday::Monday)
    }

    pub(crate) fn clock(&self) -> LocalClock {
        let day = TimeStep { unit: TimeUnit::Day, count: 1 };
        LocalClock(ZoneBuckets::new(&self.time_zone, day, self.week_start, Vec::new()))
    }

    /// Notes that the request asks for something of contract A5.
    pub(crate) fn uses(&self, extension: &'static str) {
        if self.extension.get().is_none() {
            self.extension.set(Some(extension));
        }
    }

    /// The first thing of contract A5 that was noted.
    pub(crate) fn extension(&self) -> Option<&'static str> {
        self.extension.get()
    }

    /// Counts one more condition; gives the number of all.
    pub(crate) fn condition(&self) -> usize {
        self.conditions.set(self.conditions.get() + 1);
        self.conditions.get()
    }

    /// Counts what one more value of a condition takes in memory; gives the bytes of all.
    pub(crate) fn value(&self, bytes: usize) -> usize {
        self.value_bytes.set(self.value_bytes.get().saturating_add(bytes));
        self.value_bytes.get()
    }
}

/// Instants of what the local clock shows; both as milliseconds since 1970.
pub(crate) struct LocalClock(ZoneBuckets);

impl LocalClock {
    /// Of a date, given by its midnight.
    pub(crate) fn first_instant(&mut self, local: i64) -> i64 {
        self.0.first_instant_of_local(local)
    }

    pub(crate) fn instant(&mut self, local: i64) -> i64 {
        self.0.instant_of_local(local)
    }
}
