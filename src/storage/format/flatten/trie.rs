//! Paths of object keys as small numbers.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::walk::unescape;
use crate::storage::format::error::FlattenError;

/// The root's number: the JSON field itself.
pub(crate) const ROOT: u32 = 0;

struct Node {
    parent: u32,
    /// Unescaped.
    key: Box<str>,
}

pub(crate) struct PathTrie {
    nodes: Vec<Node>,
    index: HashTable<u32>,
}

impl Default for PathTrie {
    fn default() -> Self {
        Self { nodes: vec![Node { parent: ROOT, key: "".into() }], index: HashTable::new() }
    }
}

impl PathTrie {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The child whose raw (possibly escaped) key is `raw`, if known.
    pub(crate) fn find(&self, parent: u32, raw: &str) -> Result<Option<u32>, FlattenError> {
        let key = unescape(raw)?;
        Ok(self.find_key(parent, &key))
    }

    fn find_key(&self, parent: u32, key: &str) -> Option<u32> {
        let same = |&node: &u32| self.nodes.get(node as usize).is_some_and(|n| n.parent == parent && *n.key == *key);
        self.index.find(hash(parent, key), same).copied()
    }

    pub(crate) fn intern_raw(&mut self, parent: u32, raw: &str) -> Result<u32, FlattenError> {
        let key = unescape(raw)?;
        Ok(self.intern(parent, &key))
    }

    pub(crate) fn intern(&mut self, parent: u32, key: &str) -> u32 {
        if let Some(node) = self.find_key(parent, key) {
            return node;
        }
        let node = self.nodes.len() as u32;
        self.nodes.push(Node { parent, key: key.into() });
        let nodes = &self.nodes;
        self.index.insert_unique(hash(parent, key), node, |&other| {
            nodes.get(other as usize).map_or(0, |n| hash(n.parent, &n.key))
        });
        node
    }

    pub(crate) fn intern_path(&mut self, path: &[String]) -> u32 {
        path.iter().fold(ROOT, |parent, key| self.intern(parent, key))
    }

    pub(crate) fn path(&self, mut node: u32) -> Vec<String> {
        let mut path = Vec::new();
        while node != ROOT {
            let Some(n) = self.nodes.get(node as usize) else { break };
            path.push(n.key.to_string());
            node = n.parent;
        }
        path.reverse();
        path
    }
}

fn hash(parent: u32, key: &str) -> u64 {
    xxh3_64_with_seed(key.as_bytes(), u64::from(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_and_plain_spelling_are_one_path() {
        let mut trie = PathTrie::default();
        let a = trie.intern_raw(ROOT, "a").unwrap();
        let b = trie.intern_raw(a, "b").unwrap();
        assert_eq!(trie.intern_raw(ROOT, "\\u0061").unwrap(), a);
        assert_eq!(trie.find(ROOT, "b").unwrap(), None);
        assert_eq!(trie.path(b), ["a", "b"]);
        assert_eq!(trie.len(), 3);
    }
}
