//! The query string. Unknown parameters are ignored; of repeated ones the first counts.

use std::ops::RangeInclusive;

use url::form_urlencoded;

use super::problem::Problem;

#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
}

impl Parameters {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        Self { pairs: form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect() }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the parameter `name`, or `name[]`, is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, _)| plain(key) == name)
    }

    /// All values of a list parameter, which repeats its name (or `name[]`) or separates values by commas. Empty values
    /// are left out.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let named = self.pairs.iter().filter(|(key, _)| plain(key) == name);
        let values = named.flat_map(|(_, value)| value.split(',')).filter(|value| !value.is_empty());
        values.map(str::to_owned).collect()
    }

    /// The same of values that may hold commas: `name[]` gives one whole.
    pub(crate) fn list_of_any(&self, name: &str) -> Vec<String> {
        let mut values = Vec::new();
        for (key, value) in self.pairs.iter().filter(|(key, _)| plain(key) == name) {
            if key == name {
                values.extend(value.split(','));
            } else {
                values.push(value);
            }
        }
        values.into_iter().filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    /// Without what a client sends for "not given": `null` as the text of one of these parameters, and nothing as that
    /// of some of them; 400 for nothing as that of another.
    pub(crate) fn given(&self, known: &[&str], may_be_empty: &[&str]) -> Result<Parameters, Problem> {
        let mut pairs = Vec::with_capacity(self.pairs.len());
        for (key, value) in &self.pairs {
            let name = plain(key);
            if known.contains(&name) && value.is_empty() && !may_be_empty.contains(&name) {
                return Err(Problem::bad_request(format!("{name}: empty, a value is needed")));
            }
            if !(known.contains(&name) && (value == "null" || value.is_empty())) {
                pairs.push((key.clone(), value.clone()));
            }
        }
        Ok(Parameters { pairs })
    }

    /// 400 naming the parameter unless it is a whole number of these.
    pub(crate) fn number(&self, name: &str, default: usize, allowed: RangeInclusive<usize>) -> Result<usize, Problem> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok().filter(|number| allowed.contains(number)) } else { None };
        number.ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let (least, most) = allowed.into_inner();
            Problem::bad_request(format!("{name}: `{shown}` given, a whole number from {least} to {most} is needed"))
        })
    }
}

/// `name` of `name[]`.
fn plain(key: &str) -> &str {
    key.strip_suffix("[]").unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked() {
        for (query, expected) in [
            (None, Some(20)),
            (Some("offset=3"), Some(20)),
            (Some("limit=0"), Some(0)),
            (Some("limit=100"), Some(100)),
            (Some("limit=7&limit=x"), Some(7)),
            (Some("limit=101"), None),
            (Some("limit="), None),
            (Some("limit=-1"), None),
            (Some("limit=%2B1"), None),
            (Some("limit=1.0"), None),
            (Some("limit=99999999999999999999999"), None),
        ] {
            let found = Parameters::parse(query).number("limit", 20, 0..=100);
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{query:?}");
            assert!(found.err().is_none_or(|problem| problem.status().as_u16() == 400));
        }
        assert_eq!(Parameters::parse(Some("projectId=a%20b%2Fc")).text("projectId"), Some("a b/c"));
    }
}
