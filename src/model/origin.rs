//! Who sent a stored row, and who chose its id. Web keys stand in public pages, so what one of them may name is told by
//! it (contract A1, what a web key is).

use serde::{Deserialize, Serialize};

/// What kind of sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SenderKind {
    /// A key of this kind.
    Web,
    /// As above.
    Api,
    /// As above.
    Org,
    /// Whoever runs the server: an import on the store.
    Import,
}

impl SenderKind {
    const ALL: [SenderKind; 4] = [SenderKind::Web, SenderKind::Api, SenderKind::Org, SenderKind::Import];

    /// As stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            SenderKind::Web => "web",
            SenderKind::Api => "api",
            SenderKind::Org => "org",
            SenderKind::Import => "import",
        }
    }

    pub(crate) fn of_str(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// In whose name a row is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) kind: SenderKind,
    /// The id of the key; imports have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

impl Sender {
    pub(crate) fn import() -> Self {
        Sender { kind: SenderKind::Import, key: None }
    }

    /// Whose an id is that a document does not name.
    fn new_id(&self) -> IdOrigin {
        match self.kind {
            // The same lines get the same ids, so who knows a line knows its id (contract A6).
            SenderKind::Import => IdOrigin::Client,
            SenderKind::Web | SenderKind::Api | SenderKind::Org => IdOrigin::Server,
        }
    }
}

/// Which stored rows a sender may name (contract A1, what a web key is).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of its project.
    Everything,
    /// A web key's.
    Web {
        /// An externalId selects what these keys made: the key itself and those that it has succeeded, or none.
        external_ids_of: Vec<String>,
    },
}

impl Reach {
    /// Whether its `id` names the row.
    pub(crate) fn admits(&self, origin: &Origin) -> bool {
        matches!(self, Reach::Everything) || origin.is_open_to_web_keys()
    }

    /// Whether its `externalId` names the row.
    pub(crate) fn admits_by_external_id(&self, origin: &Origin) -> bool {
        match self {
            Reach::Everything => true,
            Reach::Web { external_ids_of } => {
                origin.is_of_web_key()
                    && origin.sender.key.as_ref().is_some_and(|maker| external_ids_of.contains(maker))
            }
        }
    }

    /// Whether an event or feedback of that id may be replaced.
    pub(crate) fn replaces(&self, origin: &Origin) -> bool {
        matches!(self, Reach::Everything) || origin.is_of_web_key()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdOrigin {
    /// Chosen by a client, or made of what a client has sent: it may be guessed.
    Client,
    /// Made at random by the server.
    Server,
}

impl IdOrigin {
    /// As stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            IdOrigin::Client => "client",
            IdOrigin::Server => "server",
        }
    }

    pub(crate) fn of_str(text: &str) -> Option<Self> {
        [IdOrigin::Client, IdOrigin::Server].into_iter().find(|one| one.as_str() == text)
    }
}

/// Of a stored row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Who logged this version. What Part B sets and what the server links does not change it.
    pub(crate) sender: Sender,
    /// As the first version of the id had it: to name an id again makes it nobody else's.
    pub(crate) id: IdOrigin,
}

impl Origin {
    /// Of a document that names its `id` or not; `previous` is that of the row which it replaces.
    pub(crate) fn resolve(sender: &Sender, id: Option<&str>, previous: Option<IdOrigin>) -> Self {
        let chosen = id.map(|_| IdOrigin::Client);
        let id = previous.or(chosen).unwrap_or_else(|| sender.new_id());
        Origin { sender: sender.clone(), id }
    }

    /// Whether a web key made the row, or nobody can guess its id: every web key of the project reaches it.
    pub(crate) fn is_open_to_web_keys(&self) -> bool {
        self.is_of_web_key() || self.id == IdOrigin::Server
    }

    pub(crate) fn is_of_web_key(&self) -> bool {
        self.sender.kind == SenderKind::Web
    }

    /// Of what is stored without one, which is older: to web keys it is nobody's.
    pub(crate) fn unknown() -> Self {
        Origin { sender: Sender::import(), id: IdOrigin::Client }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(kind: SenderKind) -> Sender {
        Sender { kind, key: None }
    }

    #[test]
    fn ids_are_whose_who_brought_them() {
        for (kind, made) in [
            (SenderKind::Web, IdOrigin::Server),
            (SenderKind::Api, IdOrigin::Server),
            (SenderKind::Org, IdOrigin::Server),
            (SenderKind::Import, IdOrigin::Client),
        ] {
            let of = |id, previous| Origin::resolve(&sender(kind), id, previous).id;
            assert_eq!(of(None, None), made);
            assert_eq!(of(Some("x"), None), IdOrigin::Client);
            for before in [IdOrigin::Client, IdOrigin::Server] {
                assert_eq!((of(None, Some(before)), of(Some("x"), Some(before))), (before, before));
            }
        }
    }

    #[test]
    fn a_web_key_reaches_what_web_keys_made_and_what_nobody_can_guess() {
        use SenderKind::{Api, Import, Org, Web};
        let of = |kind, key: &str, id| Origin { sender: Sender { kind, key: Some(key.to_owned()) }, id };
        let web = Reach::Web { external_ids_of: vec!["k1".to_owned(), "k2".to_owned()] };
        for (origin, by_id, by_external_id, replaced) in [
            (of(Web, "k1", IdOrigin::Client), true, true, true),
            (of(Web, "k2", IdOrigin::Server), true, true, true),
            (of(Web, "other", IdOrigin::Client), true, false, true),
            (of(Api, "k1", IdOrigin::Client), false, false, false),
            (of(Api, "k1", IdOrigin::Server), true, false, false),
            (of(Org, "k1", IdOrigin::Client), false, false, false),
            (of(Import, "k1", IdOrigin::Client), false, false, false),
            (Origin::unknown(), false, false, false),
        ] {
            let found = (web.admits(&origin), web.admits_by_external_id(&origin), web.replaces(&origin));
            assert_eq!(found, (by_id, by_external_id, replaced), "{origin:?}");
            let all = Reach::Everything;
            assert!(all.admits(&origin) && all.admits_by_external_id(&origin) && all.replaces(&origin));
        }
        let plain = Reach::Web { external_ids_of: Vec::new() };
        assert!(!plain.admits_by_external_id(&of(Web, "k1", IdOrigin::Client)));
    }

    #[test]
    fn what_is_stored_comes_back() {
        for kind in SenderKind::ALL {
            assert_eq!(SenderKind::of_str(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for id in [IdOrigin::Client, IdOrigin::Server] {
            assert_eq!(IdOrigin::of_str(id.as_str()), Some(id));
            assert_eq!(serde_json::to_value(id).unwrap(), id.as_str());
        }
        assert_eq!((SenderKind::of_str("Web"), IdOrigin::of_str("")), (None, None));
    }
}
