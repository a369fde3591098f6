//! The JSON query language: request → checked form ([`check`], [`dsl`], [`view`]) → DataFusion logical plan
//! ([`compile`], [`functions`]) over the snapshot ([`scan`]) → rows ([`engine`], [`render`]).

pub mod check;
pub mod compile;
pub mod dsl;
pub mod engine;
pub mod error;
pub mod functions;
pub mod render;
pub mod scan;
pub mod view;
