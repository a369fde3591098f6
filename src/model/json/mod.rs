//! JSON: values ([`value`]), their parser ([`parser`]), raw text as it was sent ([`raw`]), PostgreSQL's `jsonb` semantics ([`jsonb`],
//! [`containment`]) and exact numbers ([`decimal`]).

pub(crate) mod containment;
pub(crate) mod decimal;
pub(crate) mod jsonb;
pub(crate) mod parser;
pub(crate) mod raw;
pub(crate) mod value;

#[cfg(test)]
pub(crate) mod random;
