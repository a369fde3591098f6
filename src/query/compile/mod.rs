//! A checked query as DataFusion logical plans, built through the expression API.
//!
//! - [`grouped`]: scan → filter → project keys and arguments → aggregate → project output and sort keys; the groups are
//!   counted above that, then sorted. [`report`]: such plans over search events.
//! - [`page`]: rows' sort keys, addresses and narrow columns, limited, with the number of all in [`count`]; [`latest`]:
//!   such plans for the lists of the newest rows.
//! - [`texts`]: what the distinct keys and values of properties are gathered from.
//! - [`group_value`], [`filter`], [`having`], [`literal`], [`columns`], [`order`]: the parts of a plan; [`source`]: what it scans.

pub(crate) mod columns;
pub(crate) mod count;
mod filter;
mod group_value;
pub(crate) mod grouped;
mod having;
pub(crate) mod latest;
mod literal;
mod many_paths;
pub(crate) mod order;
pub(crate) mod page;
pub(crate) mod report;
pub(crate) mod source;
pub(crate) mod texts;
