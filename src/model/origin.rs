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
