//! The JSON query language: request → checked form ([`check`], [`dsl`], [`view`]) → DataFusion logical plan
//! ([`compile`], [`functions`], [`expr`]) over the snapshot ([`scan`]) → rows ([`execute`]), within the limits of
//! [`admission`], whose slots [`turns`] gives and [`cost`] tells apart. [`engine`] is what can be asked; [`watch`]: whether
//! a query is to go on; [`search`]: lists of conversations on top of it;
//! [`erasing`]: deleting what matches, [`retention`]: what is too old.

pub(crate) mod admission;
pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod cost;
pub(crate) mod dsl;
pub(crate) mod engine;
pub(crate) mod erasing;
pub(crate) mod error;
pub(crate) mod execute;
pub(crate) mod expr;
pub(crate) mod functions;
pub(crate) mod retention;
pub(crate) mod scan;
pub(crate) mod search;
pub(crate) mod turns;
pub(crate) mod view;
pub(crate) mod watch;
