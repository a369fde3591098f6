//! Conditions of this API as filters of the query language, so that nothing is looked for in two ways.

use crate::api::http::problem::Problem;
use crate::model::actor::{Actor, is_number};
use crate::model::ids::EpochMillis;
use crate::model::json::value::Json;
use crate::query::dsl::{Comparison, Condition, FieldRef, Filter, Literal};
use crate::query::view;

/// A column, or the value at a top-level key of a JSON field.
fn field(name: &str, key: Option<&str>) -> Result<FieldRef, Problem> {
    let whole = FieldRef::of(&view::CONVERSATIONS, name)?;
    Ok(FieldRef { path: key.map(str::to_owned).into_iter().collect(), ..whole })
}

fn one_of(target: FieldRef, values: Vec<Literal>) -> Filter {
    Filter::Condition(Condition::In { target, values, or_null: false, negated: false })
}

fn texts(values: &[String]) -> Vec<Literal> {
    values.iter().cloned().map(Literal::Text).collect()
}

pub(crate) fn id_in(ids: &[String]) -> Result<Filter, Problem> {
    Ok(one_of(field("id", None)?, texts(ids)))
}

pub(crate) fn integration_in(ids: &[String]) -> Result<Filter, Problem> {
    Ok(one_of(field("integrationId", None)?, texts(ids)))
}

/// The user's `userId`, else `id`, and `""` is none; a text also means the number that it spells ([`Actor::sees`]).
pub(crate) fn user_in(ids: &[String]) -> Result<Filter, Problem> {
    let text = |id: &String| Literal::Json(Json::String(id.clone()));
    let number = |id: &String| is_number(id).then(|| Literal::Json(Json::Number(id.clone())));
    let values: Vec<Literal> = ids.iter().flat_map(|id| std::iter::once(text(id)).chain(number(id))).collect();
    let (user_id, id) = (field("userProperties", Some("userId"))?, field("userProperties", Some("id"))?);
    Ok(Filter::Or(vec![
        one_of(user_id.clone(), values.clone()),
        Filter::And(vec![
            Filter::Or(vec![
                Filter::Condition(Condition::IsNull(user_id.clone())),
                one_of(user_id, vec![Literal::Json(Json::String(String::new()))]),
            ]),
            one_of(id, values),
        ]),
    ]))
}

/// Has one of the categories.
pub(crate) fn category_in(names: &[String]) -> Result<Filter, Problem> {
    let has = |name: &String| {
        let values = vec![Json::String(name.clone())];
        Ok(Filter::Condition(Condition::ArrayContains { target: field("categories", None)?, values }))
    };
    Ok(Filter::Or(names.iter().map(has).collect::<Result<_, Problem>>()?))
}

pub(crate) fn time(name: &str, comparison: Comparison, time: EpochMillis) -> Result<Filter, Problem> {
    let value = Literal::Time(time.0.to_string());
    Ok(Filter::Condition(Condition::Compare { target: field(name, None)?, comparison, value }))
}

pub(crate) fn is_not_ended() -> Result<Filter, Problem> {
    Ok(one_of(field("isEnd", None)?, vec![Literal::Boolean(false)]))
}

/// Whether an answer is on its way, as far as the columns tell: those of old files do not.
pub(crate) fn may_be_running(running: bool) -> Result<Filter, Problem> {
    let target = field("isRunning", None)?;
    let unknown = Filter::Condition(Condition::IsNull(target.clone()));
    Ok(Filter::Or(vec![unknown, one_of(target, vec![Literal::Boolean(running)])]))
}

/// What the actor sees, as [`Actor::sees`] tells it of one conversation.
pub(crate) fn visible_to(actor: &Actor) -> Result<Vec<Filter>, Problem> {
    let mut parts = Vec::new();
    if let Some(id) = &actor.own_user_id {
        parts.push(user_in(std::slice::from_ref(id))?);
    }
    if let Some(email) = &actor.user_email {
        let target = field("userProperties", Some("email"))?;
        parts.push(Filter::Condition(Condition::SameText { target, text: email.clone() }));
    }
    Ok(parts)
}
