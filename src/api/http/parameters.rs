//! The query string. Unknown parameters are ignored; of repeated ones the first counts.

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

    /// All values of a list parameter, which repeats its name (or `name[]`) or separates values by commas. Empty values
    /// are left out.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let named = self.pairs.iter().filter(|(key, _)| key.strip_suffix("[]").unwrap_or(key) == name);
        let values = named.flat_map(|(_, value)| value.split(',')).filter(|value| !value.is_empty());
        values.map(str::to_owned).collect()
    }

    /// 400 naming the parameter unless it is a whole number of 0 to `max`.
    pub(crate) fn number(&self, name: &str, default: usize, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok().filter(|number| *number <= max) } else { None };
        number.ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Problem::bad_request(format!("{name}: `{shown}` given, a whole number from 0 to {max} is needed"))
        })
    }
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
            let found = Parameters::parse(query).number("limit", 20, 100);
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{query:?}");
            assert!(found.err().is_none_or(|problem| problem.status().as_u16() == 400));
        }
        assert_eq!(Parameters::parse(Some("projectId=a%20b%2Fc")).text("projectId"), Some("a b/c"));
    }
}
