//! Who may do what: [`key`]s as the command line writes them ([`key_store`]) and a server takes them ([`key_ring`]), what
//! they may do ([`scopes`]) and how often ([`rates`]), who guesses ([`guesses`]), and the secrets that this server keeps ([`secret`]).

pub(crate) mod guesses;
pub(crate) mod key;
pub(crate) mod key_ring;
pub(crate) mod key_store;
pub(crate) mod last_used;
pub(crate) mod rates;
pub(crate) mod scopes;
pub(crate) mod secret;
