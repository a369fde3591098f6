//! The JSON query language: request → checked form ([`check`], [`dsl`], [`view`]) → DataFusion logical plan
//! ([`compile`], [`functions`]) over the snapshot ([`scan`]) → rows ([`engine`], [`render`]).

pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod dsl;
pub(crate) mod engine;
pub(crate) mod error;
pub(crate) mod expr;
pub(crate) mod functions;
pub(crate) mod render;
pub(crate) mod scan;
pub(crate) mod view;
