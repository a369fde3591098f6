//! Reads which file takes names from which: the `use` lines and the paths written out in every file of the crate.
//!
//! A name counts where it is defined: what a `mod.rs` only hands on leads to the file behind it. What stands under
//! `#[cfg(test)]` is left out. Macros are read as other code is; names that come by a trait's methods are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

type ModulePath = Vec<String>;

#[derive(Default)]
struct Module {
    /// Relative to the crate's folder.
    file: String,
    children: BTreeSet<String>,
    /// Names that a `use` brings in, and the path of each.
    imported: BTreeMap<String, ModulePath>,
    /// Paths written here, those of `use` lines among them.
    mentioned: BTreeSet<ModulePath>,
}

/// Where a path leads.
enum Target {
    Module(ModulePath),
    /// Something defined in the module.
    Item(ModulePath),
}

/// Every module of the crate.
pub struct Crate {
    modules: BTreeMap<ModulePath, Module>,
}

/// One file that takes names from another.
pub struct Import {
    pub from: String,
    pub to: String,
    /// One of the paths that say so, as it is written.
    pub path: String,
}

impl Crate {
    /// `folder` holds `src/lib.rs`.
    pub fn read(folder: &Path) -> Crate {
        let mut found = Crate { modules: BTreeMap::new() };
        found.read_file(folder, Path::new("src/lib.rs"), Path::new("src"), Vec::new());
        found
    }

    pub fn files(&self) -> BTreeSet<String> {
        self.modules.values().map(|module| module.file.clone()).collect()
    }

    /// Sorted by file; each pair once.
    pub fn imports(&self) -> Vec<Import> {
        let mut pairs = BTreeMap::new();
        for (place, module) in &self.modules {
            for path in &module.mentioned {
                // A module by itself is taken for its names only, and these are read where they are written.
                let Some(Target::Item(target)) = self.resolve(place, path, 0) else { continue };
                let to = &self.modules[&target].file;
                if *to != module.file {
                    pairs.entry((module.file.clone(), to.clone())).or_insert_with(|| path.join("::"));
                }
            }
        }
        pairs.into_iter().map(|((from, to), path)| Import { from, to, path }).collect()
    }

    /// `children` is the folder in which `mod name;` of this file is looked for.
    fn read_file(&mut self, folder: &Path, file: &Path, children: &Path, place: ModulePath) {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = file.to_string_lossy().into_owned();
        self.modules.insert(place.clone(), Module { file: name, ..Module::default() });
        self.read_tokens(folder, children, &place, &tokens.into_iter().collect::<Vec<_>>());
    }

    fn read_tokens(&mut self, folder: &Path, children: &Path, place: &ModulePath, tokens: &[TokenTree]) {
        let mut at = 0;
        while at < tokens.len() {
            if is_punct(tokens.get(at), '#') && is_test_only(tokens.get(at + 1)) {
                at = end_of_item(tokens, at + 2);
                continue;
            }
            match &tokens[at] {
                TokenTree::Ident(word) if word == "use" => {
                    let end = (at..tokens.len()).find(|at| is_punct(tokens.get(*at), ';')).unwrap_or(tokens.len());
                    self.read_use(place, Vec::new(), &tokens[at + 1..end]);
                    at = end + 1;
                }
                TokenTree::Ident(word) if word == "mod" => {
                    let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { panic!("a module without a name") };
                    self.read_module(folder, children, place, &name.to_string(), tokens.get(at + 2));
                    at += 3;
                }
                TokenTree::Ident(_) => {
                    let (path, next) = path_at(tokens, at);
                    if path.len() > 1 {
                        self.module(place).mentioned.insert(path);
                    }
                    at = next;
                }
                TokenTree::Group(group) => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    self.read_tokens(folder, children, place, &inner);
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    fn read_module(&mut self, folder: &Path, within: &Path, place: &ModulePath, name: &str, body: Option<&TokenTree>) {
        self.module(place).children.insert(name.to_owned());
        let child = joined(place, [name.to_owned()]);
        let children = within.join(name);
        if let Some(TokenTree::Group(group)) = body {
            let file = self.module(place).file.clone();
            self.modules.insert(child.clone(), Module { file, ..Module::default() });
            let inner: Vec<_> = group.stream().into_iter().collect();
            return self.read_tokens(folder, &children, &child, &inner);
        }
        let candidates: [PathBuf; 2] = [within.join(format!("{name}.rs")), children.join("mod.rs")];
        let file = candidates.iter().find(|file| folder.join(file).exists());
        let file = file.unwrap_or_else(|| panic!("no file for the module {}", child.join("::")));
        self.read_file(folder, file, &children, child);
    }

    /// One tree of a `use`: `a::b`, `a::b as c`, `a::{b, c::d}`, `a::*`.
    fn read_use(&mut self, place: &ModulePath, prefix: ModulePath, tokens: &[TokenTree]) {
        let (path, next) = path_at(tokens, 0);
        let mut path = joined(&prefix, path);
        match tokens.get(next) {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                for tree in inner.split(|token| is_punct(Some(token), ',')).filter(|tree| !tree.is_empty()) {
                    self.read_use(place, path.clone(), tree);
                }
            }
            // All names of a module: whichever they are, they are of that module.
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                self.module(place).mentioned.insert(joined(&path, ["*".to_owned()]));
            }
            renamed => {
                if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                    path.pop();
                }
                let alias = match (renamed, tokens.get(next + 1)) {
                    (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(alias))) if word == "as" => alias.to_string(),
                    _ => path.last().cloned().unwrap_or_default(),
                };
                let module = self.module(place);
                module.mentioned.insert(path.clone());
                module.imported.insert(alias, path);
            }
        }
    }

    fn module(&mut self, place: &ModulePath) -> &mut Module {
        self.modules.get_mut(place).expect("a module that is being read")
    }

    /// None for what is not of this crate. `depth` stops at names that two modules take from each other.
    fn resolve(&self, place: &ModulePath, path: &[String], depth: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let module = &self.modules[place];
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, depth),
            "self" => self.walk(place.clone(), rest, depth),
            "super" => self.walk(place[..place.len().checked_sub(1)?].to_vec(), rest, depth),
            name if module.children.contains(name) => self.walk(joined(place, [name.to_owned()]), rest, depth),
            name => {
                let imported = module.imported.get(name)?;
                let is_itself = imported.len() == 1 && imported[0] == name;
                if depth > 16 || is_itself {
                    return None;
                }
                match self.resolve(place, imported, depth + 1)? {
                    Target::Module(target) => self.walk(target, rest, depth + 1),
                    item @ Target::Item(_) => Some(item),
                }
            }
        }
    }

    /// From a module along `path`, through what its modules hand on.
    fn walk(&self, mut place: ModulePath, path: &[String], depth: usize) -> Option<Target> {
        for (index, name) in path.iter().enumerate() {
            let module = &self.modules[&place];
            if name == "super" {
                place.pop()?;
            } else if module.children.contains(name) {
                place.push(name.clone());
            } else if module.imported.contains_key(name) {
                // Within `place` the name means what its `use` says.
                return self.resolve(&place, &path[index..], depth + 1);
            } else {
                return Some(Target::Item(place));
            }
        }
        Some(Target::Module(place))
    }
}

fn joined(path: &[String], more: impl IntoIterator<Item = String>) -> ModulePath {
    path.iter().cloned().chain(more).collect()
}

/// The longest `a::b::c` from `at` on, and where it ends; `::` before a `{`, `*` or `<` is passed.
fn path_at(tokens: &[TokenTree], mut at: usize) -> (ModulePath, usize) {
    let mut path = Vec::new();
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        path.push(name.to_string());
        at += 1;
        if !(is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')) {
            break;
        }
        at += 2;
    }
    (path, at)
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

/// Whether the group is the `[cfg(test)]` of an attribute.
fn is_test_only(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Where the item that begins at `at` ends: after its block, its semicolon, or, for a field, its comma.
fn end_of_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while is_punct(tokens.get(at), '#') {
        at += 2;
    }
    let is_word = |at: usize, words: &[&str]| matches!(tokens.get(at), Some(TokenTree::Ident(word)) if words.iter().any(|one| word == one));
    if is_word(at, &["pub"]) {
        at += 1;
        if matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis) {
            at += 1;
        }
    }
    let ends_with_semicolon =
        is_word(at, &["use", "static", "type", "let"]) || (is_word(at, &["const"]) && !is_word(at + 1, &["fn"]));
    let is_item = is_word(at, &["fn", "impl", "mod", "struct", "enum", "trait", "async", "const", "macro_rules"]);
    while at < tokens.len() {
        let ends = match &tokens[at] {
            TokenTree::Punct(punct) => punct.as_char() == ';' || (punct.as_char() == ',' && !is_item),
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !ends_with_semicolon,
            _ => false,
        };
        at += 1;
        if ends {
            break;
        }
    }
    at
}
