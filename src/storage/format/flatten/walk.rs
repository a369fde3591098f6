//! One pass over the compact JSON text of an object, without building a tree.

use crate::storage::format::error::FlattenError;

/// The stored JSON nests at most 32 levels (contract A2); this only guards the stack against a damaged file.
const MAX_DEPTH: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    String,
    Number,
    Boolean,
    /// JSON null, an array, or an empty object.
    Other,
}

/// Called with the parts of one object in their order. Keys are raw: as spelled, without their quotes.
pub(crate) trait Visitor<'a> {
    /// The node of `key` below the node `parent`.
    fn child(&mut self, parent: u32, key: &'a str) -> Result<u32, FlattenError>;
    fn open(&mut self, key: &'a str);
    fn close(&mut self);
    fn leaf(&mut self, node: u32, key: &'a str, token: Token, text: &'a str) -> Result<(), FlattenError>;
}

/// Walks `text`, an object, whose node is `root`.
pub(crate) fn walk<'a, V: Visitor<'a>>(text: &'a str, root: u32, visitor: &mut V) -> Result<(), FlattenError> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.expect(b'{')?;
    scanner.object(root, 1, visitor)?;
    match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(scanner.error()),
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self) -> FlattenError {
        FlattenError::Json { offset: self.at }
    }

    fn expect(&mut self, byte: u8) -> Result<(), FlattenError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.error())
    }

    fn slice(&self, from: usize) -> Result<&'a str, FlattenError> {
        self.text.get(from..self.at).ok_or_else(|| self.error())
    }

    /// Members of an object whose brace is read already.
    fn object<V: Visitor<'a>>(&mut self, node: u32, depth: usize, visitor: &mut V) -> Result<(), FlattenError> {
        if depth > MAX_DEPTH {
            return Err(self.error());
        }
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let quoted = self.string()?;
            let key = quoted.get(1..quoted.len() - 1).unwrap_or_default();
            self.expect(b':')?;
            let child = visitor.child(node, key)?;
            let start = self.at;
            match self.peek() {
                Some(b'"') => {
                    let text = self.string()?;
                    visitor.leaf(child, key, Token::String, text)?;
                }
                Some(b'{') => {
                    self.at += 1;
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                        visitor.leaf(child, key, Token::Other, self.slice(start)?)?;
                    } else {
                        visitor.open(key);
                        self.object(child, depth + 1, visitor)?;
                        visitor.close();
                    }
                }
                Some(b'[') => {
                    self.skip_array()?;
                    visitor.leaf(child, key, Token::Other, self.slice(start)?)?;
                }
                Some(first) => {
                    while !matches!(self.peek(), Some(b',' | b'}' | b']') | None) {
                        self.at += 1;
                    }
                    let token = match first {
                        b't' | b'f' => Token::Boolean,
                        b'n' => Token::Other,
                        b'-' | b'0'..=b'9' => Token::Number,
                        _ => return Err(FlattenError::Json { offset: start }),
                    };
                    visitor.leaf(child, key, token, self.slice(start)?)?;
                }
                None => return Err(self.error()),
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error()),
            }
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<&'a str, FlattenError> {
        let start = self.at;
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(length) = rest.iter().position(|&byte| byte == b'"' || byte == b'\\') else {
                return Err(self.error());
            };
            self.at += length;
            if rest.get(length) == Some(&b'"') {
                self.at += 1;
                return self.slice(start);
            }
            self.at += 2;
        }
    }

    fn skip_array(&mut self) -> Result<(), FlattenError> {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'[' | b'{') => depth += 1,
                Some(b']' | b'}') => depth -= 1,
                Some(_) => {}
                None => return Err(self.error()),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// The value of a string without its quotes; borrowed where nothing is escaped.
pub(crate) fn unescape(inner: &str) -> Result<std::borrow::Cow<'_, str>, FlattenError> {
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(inner.into());
    }
    serde_json::from_str::<String>(&format!("\"{inner}\""))
        .map(Into::into)
        .map_err(|_| FlattenError::Json { offset: 0 })
}
