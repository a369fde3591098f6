//! The text that a search looks through (contract Part B, `searchTerm`): title, user names and ids, and the text of
//! messages, folded ([`super::fold`]); and the conversation's id, which is found as a whole only.

use memchr::memmem::Finder;
use memchr::memrchr;

use super::actor::user_id_text;
use super::conversation::Conversation;
use super::fold::fold;
use super::json::raw;
use super::json::value::RawJson;

/// Ends each text of a conversation. No UTF-8 text has this byte, so no term is found across two texts.
pub(crate) const END_OF_TEXT: u8 = 0xff;

/// Begins a text that a term finds only if it is the whole of it. There is one at most, the last; no UTF-8 text has this
/// byte either.
pub(crate) const WHOLE_TEXT: u8 = 0xfe;

/// What is searched for, folded.
#[derive(Clone, Debug)]
pub(crate) struct SearchTerm {
    folded: String,
    finder: Finder<'static>,
}

impl SearchTerm {
    pub(crate) fn new(term: &str) -> SearchTerm {
        SearchTerm::of_folded(&fold(term))
    }

    /// Of what is folded already.
    pub(crate) fn of_folded(folded: &str) -> SearchTerm {
        let finder = Finder::new(folded.as_bytes()).into_owned();
        SearchTerm { folded: folded.to_owned(), finder }
    }

    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }

    /// Whether a text as [`append_search_text`] makes it has the term.
    pub(crate) fn is_in(&self, search_text: &[u8]) -> bool {
        let (parts, whole) = match memrchr(WHOLE_TEXT, search_text).and_then(|at| search_text.split_at_checked(at)) {
            Some((parts, [WHOLE_TEXT, whole @ .., END_OF_TEXT])) => (parts, whole),
            _ => (search_text, &[][..]),
        };
        whole == self.folded.as_bytes() || self.finder.find(parts).is_some()
    }
}

/// Appends the texts of a conversation, folded, each with [`END_OF_TEXT`] behind it. A title that is not set is the
/// beginning of a message, so it is not among them.
pub(crate) fn append_search_text(conversation: &Conversation, out: &mut Vec<u8>) {
    let mut append = |text: &str| {
        if !text.is_empty() {
            out.extend_from_slice(fold(text).as_bytes());
            out.push(END_OF_TEXT);
        }
    };
    if let Some(title) = &conversation.annotations.title {
        append(title);
    }
    if let Some(properties) = &conversation.user_properties {
        append(&user_name(properties, "id"));
        let names = [user_name(properties, "firstName"), user_name(properties, "lastName")];
        let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        append(&names.join(" "));
        append(&user_id_text(properties).unwrap_or_default());
    }
    for message in &conversation.messages {
        append(&message.text());
    }
    out.push(WHOLE_TEXT);
    out.extend_from_slice(fold(conversation.id.as_str()).as_bytes());
    out.push(END_OF_TEXT);
}

/// The name that a user property holds, `""` without one.
pub(crate) fn user_name(properties: &RawJson, name: &str) -> String {
    raw::text_at(properties.get(), &[name.to_owned()]).map(|text| text.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document;
    use crate::model::ids::{EpochMillis, OrganizationId, ProjectId};
    use crate::model::origin::{Reach, Sender};
    use crate::model::resolve::{Identity, resolve};

    #[test]
    fn an_id_is_found_as_a_whole_and_names_together() {
        let document = r#"{"id":"Case-42","type":"openai","userProperties":{"firstName":"Zoë","lastName":"Bo"},
            "messages":[{"role":"user","content":"hello"}]}"#;
        let identity = Identity {
            organization_id: OrganizationId::new("o"),
            project_id: ProjectId::new("p"),
            integration_id: None,
            sender: Sender::import(),
            reach: Reach::Everything,
        };
        let document = document::parse(document.as_bytes()).unwrap();
        let conversation = resolve(&document, &identity, None, EpochMillis(0), || "new".to_owned());
        let mut text = Vec::new();
        append_search_text(&conversation, &mut text);
        for (term, found) in [
            ("case-42", true),
            ("CASE-42", true),
            ("case-4", false),
            ("ase-42", false),
            ("zoë bo", true),
            ("ZOE BO", true),
            ("oë B", true),
            ("bo zoë", false),
            ("ell", true),
            ("", true),
        ] {
            assert_eq!(SearchTerm::new(term).is_in(&text), found, "{term}");
        }
        assert!(!SearchTerm::new("x").is_in(b""));
    }
}
