//! "Did you mean": the allowed word nearest to a misspelt one.

use strsim::osa_distance;

/// Longer words are no typos; this also bounds the work per unknown word.
const LONGEST: usize = 64;

/// The nearest candidate, if it is equal but for case or within 2 edits (1 for words of up to 4 characters).
pub(crate) fn nearest<'n>(given: &str, candidates: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let given: String = given.chars().take(LONGEST + 1).flat_map(char::to_lowercase).collect();
    let length = given.chars().count();
    if length == 0 || length > LONGEST {
        return None;
    }
    let allowed = if length <= 4 { 1 } else { 2 };
    candidates
        .map(|candidate| (osa_distance(&given, &lower_case(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn lower_case(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let words = ["select", "groupBy", "where", "orderBy", "id", "in"];
        for (given, expected) in [
            ("groupby", Some("groupBy")),
            ("GROUP_BY", Some("groupBy")),
            ("wher", Some("where")),
            ("slect", Some("select")),
            ("idd", Some("id")),
            // Neighbours that changed places are one edit.
            ("di", Some("id")),
            ("selcet", Some("select")),
            ("unrelated", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, words.into_iter()), expected, "{given}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), words.into_iter()), None);
    }
}
