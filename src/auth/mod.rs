//! Who may do what: keys ([`keys`]) and the secrets that this server keeps ([`secret`]).

pub mod keys;
pub mod secret;
