//! HTTP itself, whatever the routes: what a route is ([`route`]), what every request passes ([`gate`], [`access`],
//! [`cors`], [`address`]), how it is read ([`call`], [`body`], [`parameters`]), what it holds meanwhile ([`held`]), how it
//! is refused ([`problem`]), and the connections ([`listener`], [`connection`]).

pub(crate) mod access;
pub(crate) mod address;
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
