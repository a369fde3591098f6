//! Who may do what: keys ([`keys`]), what they may do ([`scopes`]), and the secrets that this server keeps ([`secret`]).

pub(crate) mod keys;
pub(crate) mod scopes;
pub(crate) mod secret;
