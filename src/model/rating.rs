//! The ratings of chats: what the newest feedback on each says (contract Part B, 10).

use std::collections::HashMap;

use super::actor::Actor;
use super::feedback::{Feedback, FeedbackType};
use super::ids::EpochMillis;

/// Who rates: feedback that an agent gave through the conversation API is the agent's, any other the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rater {
    User,
    Agent,
}

impl Rater {
    pub(crate) fn of(actor: &Actor) -> Self {
        if actor.agent_email.is_some() { Self::Agent } else { Self::User }
    }
}

impl Feedback {
    pub(crate) fn rater(&self) -> Rater {
        self.rated_by.as_ref().map_or(Rater::User, Rater::of)
    }
}

/// Of some messages of one conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ratings {
    messages: HashMap<String, MessageRatings>,
}

#[derive(Clone, Debug, Default)]
struct MessageRatings {
    user: Option<Newest>,
    agent: Option<Newest>,
}

/// The newest is greatest, in the order of Part A's lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Newest {
    created_at: EpochMillis,
    id: String,
    positive: bool,
}

impl Ratings {
    /// Knows the ratings of these messages only, however much feedback there is.
    pub(crate) fn of_messages<'a>(ids: impl Iterator<Item = &'a str>) -> Self {
        Self { messages: ids.map(|id| (id.to_owned(), MessageRatings::default())).collect() }
    }

    pub(crate) fn add(&mut self, feedback: &Feedback) {
        let Some(ratings) = self.messages.get_mut(&feedback.message_id) else { return };
        let newest = match feedback.rater() {
            Rater::User => &mut ratings.user,
            Rater::Agent => &mut ratings.agent,
        };
        let rating = Newest {
            created_at: feedback.created_at,
            id: feedback.id.as_str().to_owned(),
            positive: feedback.feedback_type == FeedbackType::Positive,
        };
        if newest.as_ref().is_none_or(|newest| *newest < rating) {
            *newest = Some(rating);
        }
    }

    pub(crate) fn get(&self, message_id: &str, rater: Rater) -> Option<bool> {
        self.newest(message_id, rater).map(|newest| newest.positive)
    }

    pub(crate) fn given_at(&self, message_id: &str, rater: Rater) -> Option<EpochMillis> {
        self.newest(message_id, rater).map(|newest| newest.created_at)
    }

    fn newest(&self, message_id: &str, rater: Rater) -> Option<&Newest> {
        let ratings = self.messages.get(message_id)?;
        match rater {
            Rater::User => ratings.user.as_ref(),
            Rater::Agent => ratings.agent.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::feedback::parse;
    use crate::model::ids::{OrganizationId, ProjectId};
    use crate::model::origin::{Reach, Sender};
    use crate::model::resolve::Identity;

    fn feedback(id: &str, positive: bool, created_at: i64, rated_by: Option<Actor>) -> Feedback {
        let kind = if positive { "positive" } else { "negative" };
        let document = parse(format!(r#"{{"id":"{id}","type":"{kind}","messageId":"m"}}"#).as_bytes()).unwrap();
        let identity = Identity {
            organization_id: OrganizationId::new("o"),
            project_id: ProjectId::new("p"),
            integration_id: None,
            sender: Sender::import(),
            reach: Reach::Everything,
        };
        Feedback {
            rated_by,
            ..Feedback::resolve(&document, &identity, "c", None, EpochMillis(created_at), String::new)
        }
    }

    #[test]
    fn the_newest_of_each_rater_counts() {
        let agent = Actor { agent_email: Some("a@x".to_owned()), ..Actor::default() };
        let given = [
            feedback("a", true, 1, None),
            feedback("b", false, 3, Some(Actor::default())),
            feedback("c", true, 3, None),
            feedback("d", false, 2, Some(agent.clone())),
            feedback("e", true, 1, Some(agent)),
        ];
        for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]] {
            let mut ratings = Ratings::of_messages(["m"].into_iter());
            order.iter().for_each(|index| ratings.add(&given[*index]));
            let found = (ratings.get("m", Rater::User), ratings.get("m", Rater::Agent));
            assert_eq!(found, (Some(true), Some(false)), "{order:?}");
            assert_eq!(ratings.given_at("m", Rater::Agent), Some(EpochMillis(2)));
        }
        let mut others = Ratings::of_messages(["n"].into_iter());
        others.add(&given[0]);
        assert!(others.messages.len() == 1 && others.get("m", Rater::User).is_none());
    }
}
