//! Formulas over aggregations (contract A5).

use super::request::{Column, Named};

#[derive(Clone, Debug, PartialEq)]
pub enum Formula {
    Number(f64),
    Column(Box<Column>),
    Negated(Box<Formula>),
    Binary(Box<Formula>, char, Box<Formula>),
}

impl Formula {
    /// The aggregations that it names.
    pub fn columns(&self) -> Vec<&Column> {
        match self {
            Formula::Number(_) => Vec::new(),
            Formula::Column(column) => vec![column],
            Formula::Negated(inner) => inner.columns(),
            Formula::Binary(left, _, right) => left.columns().into_iter().chain(right.columns()).collect(),
        }
    }

    /// None where an operand is absent, a divisor 0 or a result not finite.
    pub fn value(&self, of: &impl Fn(&Column) -> Option<f64>) -> Option<f64> {
        let value = match self {
            Formula::Number(value) => *value,
            Formula::Column(column) => of(column)?,
            Formula::Negated(inner) => -inner.value(of)?,
            Formula::Binary(left, operation, right) => {
                let (left, right) = (left.value(of)?, right.value(of)?);
                match operation {
                    '+' => left + right,
                    '-' => left - right,
                    '*' => left * right,
                    '/' if right == 0.0 => return None,
                    '/' => left / right,
                    other => panic!("no operation {other}"),
                }
            }
        };
        value.is_finite().then_some(value)
    }
}

/// Splits at the last operator of the lowest rank outside parentheses and quotes.
pub fn parse(text: &str, names: &[Named]) -> Result<Formula, String> {
    let text = text.trim();
    let characters: Vec<(usize, char)> = text.char_indices().collect();
    for operators in [['+', '-'], ['*', '/']] {
        let (mut depth, mut quoted, mut after_operand, mut split) = (0, false, false, None);
        for &(at, one) in &characters {
            match one {
                '"' => quoted = !quoted,
                _ if quoted => {}
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if quoted || one.is_whitespace() {
                after_operand |= quoted;
                continue;
            }
            let is_operator = matches!(one, '+' | '-' | '*' | '/');
            // A sign after another operator belongs to its operand; an exponent's sign is not generated.
            if depth == 0 && is_operator && after_operand && operators.contains(&one) {
                split = Some((at, one));
            }
            after_operand = !is_operator && one != '(';
        }
        if let Some((at, operation)) = split {
            let (left, right) = (parse(&text[..at], names)?, parse(&text[at + 1..], names)?);
            return Ok(Formula::Binary(Box::new(left), operation, Box::new(right)));
        }
    }
    if let Some(inner) = text.strip_prefix('-') {
        return Ok(Formula::Negated(Box::new(parse(inner, names)?)));
    }
    if let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return parse(inner, names);
    }
    if let Ok(value) = text.parse::<f64>() {
        return Ok(Formula::Number(value));
    }
    let name = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_string(),
    };
    let of_number =
        |column: &Column| matches!(column, Column::Aggregate { kind, .. } if kind != "first" && kind != "last");
    let found = names.iter().find(|named| named.name == name && of_number(&named.column));
    found.map(|named| Formula::Column(Box::new(named.column.clone()))).ok_or(format!("no operand {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calculates() {
        for (text, expected) in [
            ("1+2*3", Some(7.0)),
            ("(1+2)*3", Some(9.0)),
            ("10 - 4 - 3", Some(3.0)),
            ("8/4/2", Some(1.0)),
            ("- (2 - 5) * -2", Some(-6.0)),
            ("1 / (2 - 2)", None),
            ("--2", Some(2.0)),
        ] {
            let formula = parse(text, &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(formula.value(&|_| None), expected, "{text}");
        }
    }
}
