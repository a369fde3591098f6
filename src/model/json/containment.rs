//! jsonb's `@>` in about as much time as both sides are long. Elements of large arrays are looked up by their
//! [`sort_key`]s; an element that is no scalar and equal to none is held against those that share its rarest leaf.

use std::collections::HashMap;
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::jsonb::{self, sort_key};
use super::value::Json;

/// Up to so many comparisons two lists are gone through as they are.
const TABLE_FROM: usize = 512;

/// The left side. What was made to look things up in it serves all right sides that it is asked about.
pub(crate) struct Container<'a> {
    outer: &'a Json,
    /// Of large arrays and objects in it, by where they are in memory.
    tables: HashMap<usize, Rc<Table<'a>>>,
}

/// Of one array or object.
#[derive(Default)]
struct Table<'a> {
    members: HashMap<&'a str, &'a Json>,
    elements: HashMap<Vec<u8>, &'a Json>,
    /// Which of `containers` have a leaf, in order.
    leaves: HashMap<u64, Vec<u32>>,
    /// Distinct elements that are no scalars.
    containers: Vec<&'a Json>,
}

impl<'a> Container<'a> {
    pub(crate) fn new(outer: &'a Json) -> Container<'a> {
        Container { outer, tables: HashMap::new() }
    }

    /// `outer @> inner`; `step` is called with about how many bytes were gone through, and its error ends the comparison.
    ///
    /// At the top an array also contains a scalar that is one of its elements.
    pub(crate) fn contains<E>(
        &mut self,
        inner: &Json,
        mut step: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<bool, E> {
        match (self.outer, inner) {
            (Json::Array(elements), scalar) if is_scalar(scalar) => {
                self.arrays(elements, std::slice::from_ref(scalar), &mut step)
            }
            (outer, inner) => self.deep(outer, inner, &mut step),
        }
    }

    fn deep<E>(
        &mut self,
        outer: &'a Json,
        inner: &Json,
        step: &mut impl FnMut(usize) -> Result<(), E>,
    ) -> Result<bool, E> {
        step(1)?;
        match (outer, inner) {
            (Json::Object(outer), Json::Object(inner)) => self.objects(outer, inner, step),
            (Json::Array(outer), Json::Array(inner)) => self.arrays(outer, inner, step),
            (outer, inner) => Ok(is_scalar(outer) && is_scalar(inner) && jsonb::equal(outer, inner)),
        }
    }

    fn objects<E>(
        &mut self,
        outer: &'a [(String, Json)],
        inner: &[(String, Json)],
        step: &mut impl FnMut(usize) -> Result<(), E>,
    ) -> Result<bool, E> {
        if outer.len() < inner.len() {
            return Ok(false);
        }
        let place = outer.as_ptr().addr();
        let is_small = outer.len().saturating_mul(inner.len()) <= TABLE_FROM;
        let table = match self.tables.get(&place) {
            None if is_small => None,
            Some(table) => Some(Rc::clone(table)),
            None => {
                step(outer.len())?;
                let members = outer.iter().map(|(key, value)| (key.as_str(), value)).collect();
                Some(self.keep(place, Table { members, ..Table::default() }))
            }
        };
        for (key, wanted) in inner {
            let found = match &table {
                Some(table) => table.members.get(key.as_str()).copied(),
                None => outer.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            };
            let Some(found) = found else { return Ok(false) };
            if !self.deep(found, wanted, step)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn arrays<E>(
        &mut self,
        outer: &'a [Json],
        inner: &[Json],
        step: &mut impl FnMut(usize) -> Result<(), E>,
    ) -> Result<bool, E> {
        let place = outer.as_ptr().addr();
        let is_small = outer.len().saturating_mul(inner.len()) <= TABLE_FROM;
        let table = match self.tables.get(&place) {
            None if is_small => {
                for wanted in inner {
                    if !self.any(outer.iter(), wanted, step)? {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            Some(table) => Rc::clone(table),
            None => {
                let table = Table::of_elements(outer, step)?;
                self.keep(place, table)
            }
        };
        let mut looked_up: HashMap<Vec<u8>, ()> = HashMap::new();
        for wanted in inner {
            let key = sort_key(wanted);
            step(key.len())?;
            if table.elements.contains_key(&key) || looked_up.contains_key(&key) {
                continue;
            }
            if is_scalar(wanted) {
                return Ok(false);
            }
            let Some(candidates) = table.candidates(wanted, step)? else { return Ok(false) };
            let candidates = candidates.iter().filter_map(|at| table.containers.get(*at as usize).copied());
            if !self.any(candidates, wanted, step)? {
                return Ok(false);
            }
            looked_up.insert(key, ());
        }
        Ok(true)
    }

    fn any<E>(
        &mut self,
        elements: impl Iterator<Item = &'a Json>,
        wanted: &Json,
        step: &mut impl FnMut(usize) -> Result<(), E>,
    ) -> Result<bool, E> {
        for element in elements {
            if self.deep(element, wanted, step)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn keep(&mut self, place: usize, table: Table<'a>) -> Rc<Table<'a>> {
        let table = Rc::new(table);
        self.tables.insert(place, Rc::clone(&table));
        table
    }
}

fn is_scalar(value: &Json) -> bool {
    !matches!(value, Json::Array(_) | Json::Object(_))
}

impl<'a> Table<'a> {
    fn of_elements<E>(outer: &'a [Json], step: &mut impl FnMut(usize) -> Result<(), E>) -> Result<Table<'a>, E> {
        let mut table = Table::default();
        for element in outer {
            let key = sort_key(element);
            step(key.len())?;
            if table.elements.insert(key, element).is_none() && !is_scalar(element) {
                let number = table.containers.len() as u32;
                table.containers.push(element);
                for_each_leaf(element, 0, &mut |leaf| {
                    step(1)?;
                    let having = table.leaves.entry(leaf).or_default();
                    if having.last() != Some(&number) {
                        having.push(number);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(table)
    }

    /// The containers that have the rarest leaf of `wanted`; `None` where one of its leaves is in none.
    fn candidates<E>(&self, wanted: &Json, step: &mut impl FnMut(usize) -> Result<(), E>) -> Result<Option<&[u32]>, E> {
        let mut rarest: Option<&[u32]> = None;
        let mut is_missing = false;
        for_each_leaf(wanted, 0, &mut |leaf| {
            step(1)?;
            match self.leaves.get(&leaf) {
                Some(having) if rarest.is_none_or(|rarest| having.len() < rarest.len()) => rarest = Some(having),
                Some(_) => {}
                None => is_missing = true,
            }
            Ok(())
        })?;
        Ok(if is_missing { None } else { rarest })
    }
}

/// Calls `take` with a hash of each scalar and of each array and object in a value, and of the way to it, in which all
/// elements of an array are one. A value has all of those that a value in it, as `@>` understands it, has.
fn for_each_leaf<E>(value: &Json, way: u64, take: &mut impl FnMut(u64) -> Result<(), E>) -> Result<(), E> {
    match value {
        Json::Array(elements) => {
            take(xxh3_64_with_seed(b"[", way))?;
            let below = xxh3_64_with_seed(b"[]", way);
            elements.iter().try_for_each(|element| for_each_leaf(element, below, take))
        }
        Json::Object(members) => {
            take(xxh3_64_with_seed(b"{", way))?;
            let below = xxh3_64_with_seed(b"{}", way);
            members
                .iter()
                .try_for_each(|(key, member)| for_each_leaf(member, xxh3_64_with_seed(key.as_bytes(), below), take))
        }
        scalar => take(xxh3_64_with_seed(&sort_key(scalar), way)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::parser;
    use crate::model::json::random::Random;

    fn read(text: &str) -> Json {
        parser::parse(text.as_bytes(), 64).unwrap()
    }

    /// Whether one contains the other, and how much was gone through.
    fn counted(outer: &Json, inner: &Json) -> (bool, usize) {
        let mut bytes = 0;
        let found = Container::new(outer).contains(inner, |step| {
            bytes += step;
            Ok::<_, ()>(())
        });
        (found.unwrap(), bytes)
    }

    fn array(elements: impl Iterator<Item = String>) -> Json {
        Json::Array(elements.map(|element| read(&element)).collect())
    }

    /// The rule as PostgreSQL's documentation has it.
    fn plainly(outer: &Json, inner: &Json) -> bool {
        match (outer, inner) {
            (Json::Object(outer), Json::Object(inner)) => inner
                .iter()
                .all(|(key, wanted)| outer.iter().any(|(name, found)| name == key && plainly(found, wanted))),
            (Json::Array(outer), Json::Array(inner)) => {
                inner.iter().all(|wanted| outer.iter().any(|found| plainly(found, wanted)))
            }
            (outer, inner) => is_scalar(outer) && is_scalar(inner) && jsonb::equal(outer, inner),
        }
    }

    #[test]
    fn containment_as_postgresql() {
        let cases = [
            ("[1,2]", "1", true),
            ("[1,2]", "[1]", true),
            ("[1,2]", "3", false),
            ("[1,2,3]", "[3,1]", true),
            ("[1]", "[1,1,1]", true),
            ("[1.0]", "1", true),
            ("1", "1.00", true),
            ("1", "[1]", false),
            ("1", "[]", false),
            ("[]", "[]", true),
            ("[1]", "[]", true),
            ("{}", "{}", true),
            (r#"{"a":1}"#, "{}", true),
            ("{}", r#"{"a":1}"#, false),
            ("[]", "{}", false),
            ("{}", "[]", false),
            (r#"{"a":[1,2]}"#, r#"{"a":1}"#, false),
            (r#"{"a":[1,2]}"#, r#"{"a":[2]}"#, true),
            (r#"{"a":1}"#, r#"{"a":[1]}"#, false),
            (r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"c":2}}"#, true),
            (r#"{"a":{"b":1}}"#, r#"{"b":1}"#, false),
            ("[[1,2],3]", "[[1]]", true),
            ("[[1,2],3]", "[1]", false),
            ("[[1,2],3]", "[[2,2,1],[1]]", true),
            (r#"[{"a":1,"b":2},{"c":3}]"#, r#"[{"b":2},{}]"#, true),
            (r#"[{"a":1},{"b":2}]"#, r#"[{"a":1,"b":2}]"#, false),
            (r#"["foo"]"#, r#""foo""#, true),
            (r#""foo""#, r#""foo""#, true),
            (r#""foo""#, r#"["foo"]"#, false),
            ("null", "null", true),
            ("[null]", "null", true),
            (r#"{"a":null}"#, r#"{"a":null}"#, true),
            ("{}", r#"{"a":null}"#, false),
            ("[true]", "false", false),
        ];
        for (a, b, expected) in cases {
            assert_eq!(counted(&read(a), &read(b)).0, expected, "{a} @> {b}");
        }
    }

    #[test]
    fn every_value_contains_itself() {
        let mut random = Random::new(7);
        for _ in 0..2_000 {
            let value = random.json(4);
            assert!(counted(&value, &value.clone()).0, "{value}");
        }
    }

    #[test]
    fn large_values_are_compared_as_small_ones() {
        let mut random = Random::new(17);
        let (mut contained, mut not) = (0, 0);
        for round in 0..300 {
            let outer = Json::Array((0..120 + round % 60).map(|_| random.json(3)).collect());
            let Json::Array(elements) = &outer else { unreachable!() };
            let parts = (0..8).map(|_| {
                let one = &elements[random.below(elements.len())];
                match one {
                    Json::Array(inner) => Json::Array(inner.iter().skip(random.below(2)).cloned().collect()),
                    Json::Object(inner) => Json::Object(inner.iter().skip(random.below(2)).cloned().collect()),
                    other => other.clone(),
                }
            });
            let mut parts: Vec<Json> = parts.collect();
            if random.below(3) == 0 {
                parts.push(random.json(3));
            }
            let inner = Json::Array(parts);
            let (found, _) = counted(&outer, &inner);
            assert_eq!(found, plainly(&outer, &inner), "{outer} @> {inner}");
            contained += usize::from(found);
            not += usize::from(!found);
        }
        assert!(contained > 30 && not > 30, "{contained} {not}");
    }

    #[test]
    fn what_is_gone_through_grows_with_the_values_alone() {
        let wide = 20_000;
        let same = |inner: &str, count: usize| array((0..count).map(|_| inner.to_owned()));
        let mut ones = (0..wide).map(|_| "[1]".to_owned()).collect::<Vec<_>>();
        ones.push("[2]".to_owned());
        let ones = array(ones.into_iter());
        let numbered = array((0..wide).map(|number| format!("[{number}, \"x\"]")));
        let objects = array((0..wide).map(|number| format!(r#"{{"a": {number}, "b": [1, {{"c": {}}}]}}"#, number % 7)));
        for (outer, inner, expected) in [
            (&ones, same("[2]", 9_000), true),
            (&ones, same("[3]", 9_000), false),
            (&numbered, array((0..9_000).map(|number| format!("[{number}]"))), true),
            (&numbered, array((0..9_000).map(|number| format!("[\"x\", {}]", number + wide / 2 + 2_000))), false),
            (&objects, array((0..9_000).map(|number| format!(r#"{{"a": {number}, "b": [{{}}]}}"#))), true),
            (&objects, array((0..9_000).map(|number| format!(r#"{{"b": [{{"c": 9}}], "a": {number}}}"#))), false),
        ] {
            let (found, bytes) = counted(outer, &inner);
            assert_eq!(found, expected);
            let both = outer.to_string().len() + inner.to_string().len();
            assert!(bytes < 8 * both, "{bytes} bytes gone through for {both}");
        }
    }

    #[test]
    fn a_left_side_serves_many_right_sides() {
        let outer = array((0..50_000).map(|number| format!("[{number}]")));
        let mut container = Container::new(&outer);
        let mut bytes = 0;
        for number in 0..2_000 {
            let inner = read(&format!("[[{number}], [{}]]", number * 7));
            let step = |step| {
                bytes += step;
                Ok::<_, ()>(())
            };
            assert!(container.contains(&inner, step).unwrap());
        }
        assert!(bytes < 8 * outer.to_string().len(), "{bytes}");
    }

    #[test]
    fn a_comparison_ends_when_it_is_told() {
        // Every element has every leaf, and none contains what is asked for.
        let element = |number: usize| {
            format!(
                "[{}]",
                (0..16).map(|bit| format!("[{}, {bit}]", (number >> bit) & 1)).collect::<Vec<_>>().join(",")
            )
        };
        let outer = array((0..2_000).map(element));
        let inner = array((2_000..2_500).map(element));
        let mut left = 50_000_usize;
        let ended = Container::new(&outer).contains(&inner, |bytes| {
            left = left.checked_sub(bytes.max(1)).ok_or("over")?;
            Ok(())
        });
        assert_eq!(ended, Err("over"));
    }
}
