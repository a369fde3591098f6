//! JSON: parsed values ([`value`]), raw text as it was sent ([`raw`]), PostgreSQL's `jsonb` semantics ([`jsonb`]) and
//! exact numbers ([`decimal`]).

pub mod decimal;
pub mod jsonb;
pub mod raw;
pub mod value;

#[cfg(test)]
pub mod random;
