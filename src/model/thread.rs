//! Threads: a user's question and the answer to it, made from a conversation's messages without any model
//! (contract A4, `POST /query/semantic-threads`).
//!
//! The question is a run of messages of role `user`, the answer what follows up to the next one; messages keep the
//! order of the document. Texts of role `system` are neither. What stands before the first question is in no thread.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::conversation::{Conversation, Message};
use super::ids::{
    ConversationId, EpochMillis, IntegrationId, OrganizationId, ProjectId, ThreadId, key_hash, lookup_hash,
    lookup_hash_of,
};
use super::language;
use super::thread_annotations::{AnnotationValue, ThreadAnnotations};

/// A thread as a row: what its conversation and the annotations that are kept there make of it.
#[derive(Clone, Debug)]
pub(crate) struct SemanticThread {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
    pub(crate) id: ThreadId,
    pub(crate) conversation_id: ConversationId,
    pub(crate) integration_id: Option<IntegrationId>,
    /// Where its messages stand in the conversation.
    pub(crate) messages: Range<usize>,
    pub(crate) first_message_time: EpochMillis,
    pub(crate) last_message_time: EpochMillis,
    /// The conversation's `updatedAt`.
    pub(crate) updated_at: EpochMillis,
    /// Whether it is the conversation's first thread.
    pub(crate) is_initial: bool,
    /// Shared: it has the properties and the texts, and may have thousands of threads.
    pub(crate) conversation: Arc<Conversation>,
    pub(crate) annotations: ThreadAnnotations,
    /// Found out when a column needs it.
    of_texts: OnceLock<OfTexts>,
}

/// What is known of question and answer once they are gone.
#[derive(Clone, Debug)]
struct OfTexts {
    question_length: Option<i64>,
    languages: Option<Vec<String>>,
    /// Of the longer one.
    bytes: usize,
}

impl SemanticThread {
    /// The threads of a conversation, in its order.
    pub(crate) fn derive(conversation: &Arc<Conversation>) -> Vec<SemanticThread> {
        let parts = Parts::of(conversation).enumerate();
        parts.filter_map(|(place, part)| thread(conversation, &part, place == 0)).collect()
    }

    /// Their number.
    pub(crate) fn count(conversation: &Conversation) -> usize {
        count_threads(conversation.messages.iter().map(|message| message.role.as_str()))
    }

    /// Their ids and hashes of question and answer.
    pub(crate) fn text_hashes(conversation: &Conversation) -> impl Iterator<Item = (ThreadId, u64)> {
        let parts = Parts::of(conversation);
        parts.filter_map(|part| Some((thread_id(conversation, part.named()?), text_hash(&part.texts()))))
    }

    /// Of the conversation or of the annotations, whichever is later.
    pub(crate) fn last_updated(&self) -> EpochMillis {
        self.annotations.updated_at.map_or(self.updated_at, |annotated| annotated.max(self.updated_at))
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        match self.annotations.values.get(name) {
            Some(AnnotationValue::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.annotations.values.get(name) {
            Some(AnnotationValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self, name: &str) -> Option<&[String]> {
        match self.annotations.values.get(name) {
            Some(AnnotationValue::List(list)) => Some(list),
            _ => None,
        }
    }

    /// ISO 639 code of the question's language, else of the answer's; none where neither tells it reliably.
    pub(crate) fn languages(&self) -> Option<&[String]> {
        self.of_texts().languages.as_deref()
    }

    pub(crate) fn question_length(&self) -> Option<i64> {
        self.of_texts().question_length
    }

    /// Of the longer of question and answer.
    pub(crate) fn text_bytes(&self) -> usize {
        self.of_texts().bytes
    }

    pub(crate) fn texts(&self) -> ThreadTexts<'_> {
        ThreadTexts::of_messages(self.conversation.messages.get(self.messages.clone()).unwrap_or_default())
    }

    fn of_texts(&self) -> &OfTexts {
        self.of_texts.get_or_init(|| {
            let texts = self.texts();
            let both = [&texts.question, &texts.answer];
            let languages = both.into_iter().flatten().find_map(|text| language::detect(text));
            OfTexts {
                question_length: texts.question.as_ref().map(|question| question.chars().count() as i64),
                languages: languages.map(|code| vec![code.to_owned()]),
                bytes: both.into_iter().flatten().map(|text| text.len()).max().unwrap_or(0),
            }
        })
    }
}

/// How many threads messages of these roles are.
pub(crate) fn count_threads<'a>(roles: impl Iterator<Item = &'a str>) -> usize {
    let (mut threads, mut asking) = (0, false);
    for role in roles {
        let question = role == QUESTION_ROLE;
        threads += usize::from(question && !asking);
        asking = question;
    }
    threads
}

/// What a thread's messages say.
#[derive(Debug, Default)]
pub(crate) struct ThreadTexts<'a> {
    pub(crate) question: Option<Cow<'a, str>>,
    pub(crate) answer: Option<Cow<'a, str>>,
}

impl<'a> ThreadTexts<'a> {
    pub(crate) fn of_messages(messages: impl IntoIterator<Item = &'a Message>) -> ThreadTexts<'a> {
        ThreadTexts::of(messages.into_iter().map(|message| (message.role.as_str(), Cow::Owned(message.text()))))
    }

    /// Of the role and the text of each message, in their order. Texts that say something are a paragraph each.
    pub(crate) fn of(messages: impl Iterator<Item = (&'a str, Cow<'a, str>)>) -> ThreadTexts<'a> {
        let mut texts = ThreadTexts::default();
        let mut asks = true;
        for (role, text) in messages {
            asks &= role == QUESTION_ROLE;
            let joined = match asks {
                true => &mut texts.question,
                false if role != SILENT_ROLE => &mut texts.answer,
                false => continue,
            };
            if text.trim().is_empty() {
                continue;
            }
            match joined {
                Some(joined) => {
                    let joined = joined.to_mut();
                    joined.push_str("\n\n");
                    joined.push_str(&text);
                }
                // Mostly the only one, which need not be copied.
                None => *joined = Some(text),
            }
        }
        texts
    }
}

fn text_hash(texts: &ThreadTexts<'_>) -> u64 {
    let mut hash = Xxh3::new();
    for text in [&texts.question, &texts.answer] {
        hash.update(&text.as_ref().map_or(0, |text| text.len() as u64 + 1).to_le_bytes());
        hash.update(text.as_deref().unwrap_or_default().as_bytes());
    }
    hash.digest()
}

/// The messages of one thread.
struct Part<'a> {
    /// Where its first message stands in the conversation.
    start: usize,
    question: &'a [Message],
    answer: &'a [Message],
}

impl<'a> Part<'a> {
    /// The message whose id makes the thread's: the first of the answer, so that a longer answer keeps it; without one
    /// the last of the question.
    fn named(&self) -> Option<&'a Message> {
        self.answer.iter().find(is_answer).or_else(|| self.question.last())
    }

    fn messages(&self) -> impl Iterator<Item = &'a Message> {
        self.question.iter().chain(self.answer)
    }

    fn texts(&self) -> ThreadTexts<'a> {
        ThreadTexts::of_messages(self.messages())
    }
}

/// The threads of messages, from one on.
struct Parts<'a> {
    next: usize,
    messages: &'a [Message],
}

impl<'a> Parts<'a> {
    fn of(conversation: &'a Conversation) -> Self {
        Parts { next: 0, messages: &conversation.messages }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let before = self.messages.iter().position(is_question)?;
        let (_, messages) = self.messages.split_at(before);
        let asked = messages.iter().position(|message| !is_question(message)).unwrap_or(messages.len());
        let (question, rest) = messages.split_at(asked);
        let answered = rest.iter().position(is_question).unwrap_or(rest.len());
        let (answer, rest) = rest.split_at(answered);
        let start = self.next + before;
        self.next = start + asked + answered;
        self.messages = rest;
        Some(Part { start, question, answer })
    }
}

const QUESTION_ROLE: &str = "user";
/// Neither asks nor answers.
const SILENT_ROLE: &str = "system";

fn is_question(message: &Message) -> bool {
    message.role == QUESTION_ROLE
}

fn is_answer(message: &&Message) -> bool {
    message.role != SILENT_ROLE
}

/// `None` only of no messages.
fn thread(conversation: &Arc<Conversation>, part: &Part<'_>, is_initial: bool) -> Option<SemanticThread> {
    let times = || part.messages().map(|message| conversation.message_time(message));
    let mut thread = SemanticThread {
        organization_id: conversation.organization_id.clone(),
        project_id: conversation.project_id.clone(),
        id: thread_id(conversation, part.named()?),
        conversation_id: conversation.id.clone(),
        integration_id: conversation.integration_id.clone(),
        messages: part.start..part.start + part.question.len() + part.answer.len(),
        first_message_time: times().min()?,
        last_message_time: times().max()?,
        updated_at: conversation.updated_at,
        is_initial,
        conversation: conversation.clone(),
        annotations: ThreadAnnotations::default(),
        of_texts: OnceLock::new(),
    };
    if let Some(annotations) = conversation.annotations.threads.get(&thread.id)
        && annotations.text_hash == text_hash(&part.texts())
    {
        thread.annotations = annotations.clone();
    }
    Some(thread)
}

/// Half of the hash by which its conversation is found, and one of project, conversation and message.
fn thread_id(conversation: &Conversation, message: &Message) -> ThreadId {
    let Conversation { organization_id, project_id, id, .. } = conversation;
    let of_message = key_hash(organization_id, project_id, id.as_str()) ^ xxh3_128(message.id.as_str().as_bytes());
    let of_conversation = lookup_hash(organization_id, id.as_str()) >> 64;
    ThreadId::new(format!("{:016x}{:016x}", of_conversation as u64, of_message as u64))
}

/// [`lookup_hash`] of a thread's conversation; `None` where it is no thread's id.
pub(crate) fn conversation_hash(thread: &str) -> Option<u128> {
    let digits = thread.len() == 32 && thread.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(thread.get(..16).filter(|_| digits)?, 16).ok().map(lookup_hash_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::MessageId;
    use crate::model::json::value::string_to_raw;
    use crate::model::thread_annotations::{AnnotationUpdate, parse_update};
    use crate::storage::format::flatten::test_support;

    /// Messages as `role:text`, numbered `m0`, `m1` and so on.
    fn conversation(messages: &[&str]) -> Arc<Conversation> {
        let mut conversation = test_support::conversation(1, Some(r#"{"plan":"pro"}"#), None);
        let template = test_support::message(0, None);
        conversation.messages = messages
            .iter()
            .enumerate()
            .map(|(number, message)| {
                let (role, text) = message.split_once(':').unwrap();
                Message {
                    id: MessageId::new(format!("m{number}")),
                    role: role.to_owned(),
                    content: Some(string_to_raw(text)),
                    created_at: Some(EpochMillis(number as i64 * 1_000)),
                    ..template.clone()
                }
            })
            .collect();
        Arc::new(conversation)
    }

    fn shown(messages: &[&str]) -> Vec<(Option<String>, Option<String>, String)> {
        let threads = SemanticThread::derive(&conversation(messages)).into_iter().map(|thread| {
            let ids: Vec<String> = thread.messages.clone().map(|place| format!("m{place}")).collect();
            let ThreadTexts { question, answer } = thread.texts();
            (question.map(Cow::into_owned), answer.map(Cow::into_owned), ids.join(" "))
        });
        threads.collect()
    }

    #[test]
    fn a_thread_is_a_question_and_what_follows() {
        let thread = |question: &str, answer: &str, ids: &str| {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            (text(question), text(answer), ids.to_owned())
        };
        for (messages, expected) in [
            (&[][..], vec![]),
            (&["assistant:hello", "system:be kind"], vec![]),
            (&["user:a?"], vec![thread("a?", "", "m0")]),
            (&["assistant:hello", "user:a?", "assistant:b"], vec![thread("a?", "b", "m1 m2")]),
            (
                &["user:a", "user:b?", "assistant:c", "agent:d", "user:e?", "user: "],
                vec![thread("a\n\nb?", "c\n\nd", "m0 m1 m2 m3"), thread("e?", "", "m4 m5")],
            ),
            (&["user: ", "system:x", "assistant:b"], vec![thread("", "b", "m0 m1 m2")]),
        ] {
            assert_eq!(shown(messages), expected, "{messages:?}");
        }
    }

    #[test]
    fn ids_are_of_the_conversation_and_the_answer() {
        let ids = |conversation: &Arc<Conversation>| -> Vec<ThreadId> {
            SemanticThread::derive(conversation).into_iter().map(|thread| thread.id).collect()
        };
        let one = conversation(&["user:a?", "assistant:b"]);
        let longer = conversation(&["user:other", "assistant:b", "assistant:c"]);
        assert_eq!(ids(&one), ids(&longer));
        let open = conversation(&["user:a?"]);
        let waiting = conversation(&["user:a?", "system:x"]);
        assert_eq!(ids(&open), ids(&waiting));
        assert_ne!(ids(&open), ids(&one));
        let mut elsewhere = one.clone();
        Arc::make_mut(&mut elsewhere).project_id = ProjectId::new("elsewhere");
        assert_ne!(ids(&elsewhere), ids(&one));
    }

    #[test]
    fn annotations_are_shown_until_they_are_cleared() {
        let set = parse_update(br#"{"isClear":true,"subject":"keys"}"#).unwrap();
        let cleared = parse_update(br#"{"isClear":null}"#).unwrap();
        let mut conversation = conversation(&["user:a?"]);
        let (id, hash) = SemanticThread::text_hashes(&conversation).next().unwrap();
        let first = ThreadAnnotations::after(None, hash, &set, EpochMillis(1));
        assert!(first.has(&set) && !first.has(&cleared) && first.has(&AnnotationUpdate::new()));
        let second = ThreadAnnotations::after(Some(&first), hash, &cleared, EpochMillis(i64::MAX));
        Arc::make_mut(&mut conversation).annotations.threads.insert(id, second);
        let thread = SemanticThread::derive(&conversation).remove(0);
        assert_eq!((thread.flag("isClear"), thread.text("subject")), (None, Some("keys")));
        assert_eq!(thread.last_updated(), EpochMillis(i64::MAX));
    }

    #[test]
    fn what_is_derived() {
        let threads =
            SemanticThread::derive(&conversation(&["user:é 42?", "assistant:b", "user:How do I rotate the key?"]));
        let [first, second] = threads.as_slice() else { panic!("{threads:?}") };
        assert_eq!((first.is_initial, second.is_initial), (true, false));
        assert_eq!((first.question_length(), first.languages()), (Some(5), None));
        assert_eq!((first.first_message_time, first.last_message_time), (EpochMillis(0), EpochMillis(1_000)));
    }
}
