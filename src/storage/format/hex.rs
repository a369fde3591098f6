//! Numbers of 128 bits that objects carry as 32 hex digits: JSON has no numbers of that size.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

macro_rules! hex_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub(crate) struct $name(pub(crate) u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl From<$name> for String {
            fn from(number: $name) -> Self {
                number.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                parse(&text).map($name).ok_or_else(|| format!("{text:?} is not 32 hex digits"))
            }
        }
    };
}

hex_number!(
    /// xxh3-128 of some bytes.
    Checksum
);
hex_number!(
    /// Tells stores apart.
    StoreId
);

impl Checksum {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Checksum(xxh3_128(bytes))
    }
}

/// In lower case only: one spelling for each number.
fn parse(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == 32 && digits).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_spelling() {
        let checksum = Checksum::of(b"x");
        let text = serde_json::to_string(&checksum).unwrap();
        assert_eq!(serde_json::from_str::<Checksum>(&text).unwrap(), checksum);
        assert_eq!(serde_json::to_string(&StoreId(10)).unwrap(), "\"0000000000000000000000000000000a\"");
        for wrong in [text.to_uppercase(), text[1..].to_owned(), "\"\"".to_owned(), format!("\"+{}", &text[2..])] {
            assert!(serde_json::from_str::<Checksum>(&wrong).is_err(), "{wrong}");
        }
    }
}
