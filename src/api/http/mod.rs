//! HTTP itself, whatever the routes: what every request passes ([`gate`], [`access`], [`cors`]), how it is read
//! ([`body`], [`parameters`]) and refused ([`problem`]), and the connections ([`listener`]).

pub(crate) mod access;
pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod gate;
pub(crate) mod listener;
pub(crate) mod parameters;
pub(crate) mod problem;
