//! HTTP itself, whatever the routes: what every request passes ([`gate`], [`access`], [`cors`]), how it is read
//! ([`body`], [`parameters`]) and refused ([`problem`]), and the connections ([`listener`]).

pub mod access;
pub mod body;
pub mod cors;
pub mod gate;
pub mod listener;
pub mod parameters;
pub mod problem;
