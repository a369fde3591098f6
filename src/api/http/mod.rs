//! HTTP itself, whatever the routes: what a route is ([`route`]), what every request passes ([`gate`], [`access`],
//! [`cors`]), how it is read ([`call`], [`body`], [`parameters`]) and refused ([`problem`]), and the connections
//! ([`listener`]).

pub(crate) mod access;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod connection;
pub(crate) mod cors;
pub(crate) mod gate;
pub(crate) mod held;
pub(crate) mod listener;
pub(crate) mod parameters;
pub(crate) mod problem;
pub(crate) mod route;
