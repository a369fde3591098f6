//! Formulas over aggregations (contract A5): `solved / total`, `("p95_durationMs" - 100) * 2`.

use super::reader::{At, quoted};
use super::suggest::nearest;
use crate::query::dsl::{Arithmetic, Formula};
use crate::query::error::QueryError;

const CHARACTERS: usize = 1_000;
/// Of parentheses and signs.
const LEVELS: usize = 64;

/// What a formula can name.
pub(crate) trait Names {
    /// Of a numeric aggregation.
    fn position(&self, name: &str) -> Option<usize>;
    fn all(&self) -> Vec<&str>;
}

/// A formula whose names are not resolved yet.
#[derive(Debug)]
pub(crate) enum Parsed {
    Number(f64),
    Name(String),
    Negated(Box<Parsed>),
    Binary(Box<Parsed>, Arithmetic, Box<Parsed>),
}

impl Parsed {
    pub(crate) fn resolve(&self, at: &At<'_>, names: &impl Names) -> Result<Formula, QueryError> {
        Ok(match self {
            Parsed::Number(value) => Formula::Number(*value),
            Parsed::Name(name) => match names.position(name) {
                Some(position) => Formula::Aggregation(position),
                None => return Err(unknown_name(name, at, names)),
            },
            Parsed::Negated(inner) => Formula::Negated(Box::new(inner.resolve(at, names)?)),
            Parsed::Binary(left, operation, right) => {
                let (left, right) = (left.resolve(at, names)?, right.resolve(at, names)?);
                Formula::Binary(Box::new(left), *operation, Box::new(right))
            }
        })
    }
}

fn unknown_name(name: &str, at: &At<'_>, names: &impl Names) -> QueryError {
    let all = names.all();
    let hint = match nearest(name, all.iter().copied()) {
        Some(near) => format!("did you mean {}? ", quoted(near)),
        None => String::new(),
    };
    let list = all.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
    let list = if list.is_empty() { "none, `select` has no numeric aggregation".to_owned() } else { list };
    at.error(format!(
        "{} is no numeric aggregation of `select`; {hint}allowed (in double quotes where a name is no plain word): {list}",
        quoted(name)
    ))
}

/// # Errors
/// [`QueryError::Invalid`] with the position, in characters counted from 1, of what does not belong there.
pub(crate) fn parse(text: &str, at: &At<'_>) -> Result<Parsed, QueryError> {
    let characters = text.chars().count();
    if characters > CHARACTERS {
        return Err(at.error(format!("{characters} characters given, at most {CHARACTERS} are allowed")));
    }
    let mut parser = Parser { rest: text, text, at };
    let parsed = parser.sum(1)?;
    parser.skip_space();
    if parser.rest.is_empty() { Ok(parsed) } else { Err(parser.unexpected("an operator")) }
}

struct Parser<'a> {
    rest: &'a str,
    text: &'a str,
    at: &'a At<'a>,
}

impl Parser<'_> {
    fn sum(&mut self, level: usize) -> Result<Parsed, QueryError> {
        let mut left = self.product(level)?;
        loop {
            let operation = match self.peek() {
                Some('+') => Arithmetic::Add,
                Some('-') => Arithmetic::Subtract,
                _ => return Ok(left),
            };
            self.take(1);
            left = Parsed::Binary(Box::new(left), operation, Box::new(self.product(level)?));
        }
    }

    fn product(&mut self, level: usize) -> Result<Parsed, QueryError> {
        let mut left = self.operand(level)?;
        loop {
            let operation = match self.peek() {
                Some('*') => Arithmetic::Multiply,
                Some('/') => Arithmetic::Divide,
                _ => return Ok(left),
            };
            self.take(1);
            left = Parsed::Binary(Box::new(left), operation, Box::new(self.operand(level)?));
        }
    }

    fn operand(&mut self, level: usize) -> Result<Parsed, QueryError> {
        if level > LEVELS {
            return Err(self.at.error(format!("parentheses and signs nest over {LEVELS} levels deep")));
        }
        match self.peek() {
            Some('-') => {
                self.take(1);
                Ok(Parsed::Negated(Box::new(self.operand(level + 1)?)))
            }
            Some('(') => {
                self.take(1);
                let inner = self.sum(level + 1)?;
                if self.peek() != Some(')') {
                    return Err(self.unexpected("an operator or `)`"));
                }
                self.take(1);
                Ok(inner)
            }
            Some('"') => self.quoted_name(),
            Some('0'..='9' | '.') => self.number(),
            Some('A'..='Z' | 'a'..='z' | '_') => {
                let is_word = |one: char| one.is_ascii_alphanumeric() || one == '_';
                let end = self.rest.find(|one| !is_word(one)).unwrap_or(self.rest.len());
                Ok(Parsed::Name(self.take(end).to_owned()))
            }
            _ => Err(self.unexpected("a number, a name, `-` or `(`")),
        }
    }

    /// Digits with a fraction and an exponent, as in JSON.
    fn number(&mut self) -> Result<Parsed, QueryError> {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let mut end = digits(self.rest);
        let after = |end: usize| self.rest.get(end..).unwrap_or_default();
        if after(end).starts_with('.') {
            end += 1 + digits(after(end + 1));
        }
        if after(end).starts_with(['e', 'E']) {
            let sign = usize::from(after(end + 1).starts_with(['+', '-']));
            let exponent = digits(after(end + 1 + sign));
            end += if exponent > 0 { 1 + sign + exponent } else { 0 };
        }
        match after(0).get(..end).and_then(|token| token.parse::<f64>().ok()).filter(|value| value.is_finite()) {
            Some(value) => {
                self.take(end);
                Ok(Parsed::Number(value))
            }
            None => Err(self.unexpected("a number within the finite doubles")),
        }
    }

    /// `""` stands for a quote.
    fn quoted_name(&mut self) -> Result<Parsed, QueryError> {
        let mut name = String::new();
        self.take(1);
        loop {
            let Some(end) = self.rest.find('"') else {
                return Err(self.at.error("a name in double quotes does not end"));
            };
            name.push_str(self.take(end));
            self.take(1);
            if !self.rest.starts_with('"') {
                return Ok(Parsed::Name(name));
            }
            name.push('"');
            self.take(1);
        }
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest.chars().next()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes so many bytes.
    fn take(&mut self, bytes: usize) -> &str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn unexpected(&self, needed: &str) -> QueryError {
        let position = self.text.chars().count() - self.rest.chars().count() + 1;
        match self.rest.chars().next() {
            Some(one) => self.at.error(format!("`{one}` at character {position}, {needed} is needed")),
            None => self.at.error(format!("the formula ends at character {position}, {needed} is needed")),
        }
    }
}
