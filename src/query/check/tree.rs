//! The tree of conditions that `where`, the filters of aggregations and `having` are.

use super::context::Context;
use super::reader::{At, Object, list};
use crate::model::json::value::Json;
use crate::query::error::QueryError;

const LEVELS: usize = 64;
/// Of a request, in all its trees.
const CONDITIONS: usize = 1_000;

pub(crate) enum Tree<C> {
    And(Vec<Tree<C>>),
    Or(Vec<Tree<C>>),
    Not(Box<Tree<C>>),
    Condition(C),
}

/// How one kind of tree is read.
pub(crate) struct Reader<'a, F> {
    pub(crate) context: &'a Context,
    /// The keys of a node: `condition`, `and`, `or` and, where it is taken, `not`.
    pub(crate) keys: &'static [&'static str],
    pub(crate) condition: F,
}

impl<F> Reader<'_, F> {
    pub(crate) fn read<C>(&self, json: &Json, at: &At<'_>) -> Result<Tree<C>, QueryError>
    where
        F: Fn(&Json, &At<'_>) -> Result<C, QueryError>,
    {
        self.node(json, at, 1)
    }

    fn node<C>(&self, json: &Json, at: &At<'_>, level: usize) -> Result<Tree<C>, QueryError>
    where
        F: Fn(&Json, &At<'_>) -> Result<C, QueryError>,
    {
        if level > LEVELS {
            return Err(at.error(format!("filters nest over {LEVELS} levels deep")));
        }
        let object = Object::read(json, at, self.keys)?;
        let mut given = self.keys.iter().filter_map(|key| Some((*key, object.get(key)?)));
        let names = || self.keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let Some((key, value)) = given.next() else {
            return Err(at.error(format!("a filter needs one of {}; none given", names())));
        };
        if given.next().is_some() {
            return Err(at.error(format!("a filter takes only one of {}; several given", names())));
        }
        let at = at.key(key);
        match key {
            "and" => self.nodes(value, &at, level).map(Tree::And),
            "or" => self.nodes(value, &at, level).map(Tree::Or),
            "not" => Ok(Tree::Not(Box::new(self.node(value, &at, level + 1)?))),
            _ if self.context.condition() > CONDITIONS => Err(at.error(format!("over {CONDITIONS} conditions given"))),
            _ => (self.condition)(value, &at).map(Tree::Condition),
        }
    }

    fn nodes<C>(&self, json: &Json, at: &At<'_>, level: usize) -> Result<Vec<Tree<C>>, QueryError>
    where
        F: Fn(&Json, &At<'_>) -> Result<C, QueryError>,
    {
        let parts = list(json, at, usize::MAX)?.iter().enumerate();
        parts.map(|(index, part)| self.node(part, &at.index(index), level + 1)).collect()
    }
}
