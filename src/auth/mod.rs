//! Who may do what: keys ([`keys`]) and the secrets that this server keeps ([`secret`]).

pub(crate) mod keys;
pub(crate) mod secret;
