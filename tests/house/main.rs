//! The house: which room of `src/` may take names from which (see `src/ARCHITECTURE.md`).
//!
//! Imports go downward from layer to layer and, inside storage, from room to room; inside a layer no files stand in a
//! circle. Nothing is started here: the source is read. `cargo test --test house` says what is wrong, file by file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a failure is to end the test"
)]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imports::{Crate, Import};

/// From the ground up; each takes names only from those before it.
const LAYERS: [&str; 12] = [
    "shares",
    "model",
    "memory",
    "cache",
    "requests",
    "environment",
    "storage",
    "auth",
    "config",
    "query",
    "api",
    "cli",
];

/// The rooms of storage, from the ground up.
const STORAGE: [&str; 14] = [
    "error",
    "readiness",
    "objects",
    "categories",
    "erasures",
    "projects",
    "log",
    "format",
    "catalog",
    "tail",
    "read",
    "write",
    "maintain",
    "store",
];

/// All that keys and secrets take from storage: the way to the objects, and its errors.
const STORAGE_FOR_AUTH: [&str; 2] = ["error", "objects"];

fn house() -> Crate {
    Crate::read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

/// `src/storage/log/wal.rs` is of the layer `storage` and there of the room `log`; `src/lib.rs` is of none.
fn layer_and_room(file: &str) -> Option<(&str, &str)> {
    let mut parts = file.strip_prefix("src/")?.split('/').map(|part| part.trim_end_matches(".rs"));
    let layer = parts.next().filter(|layer| *layer != "lib")?;
    Some((layer, parts.next().filter(|room| *room != "mod").unwrap_or_default()))
}

fn floor(floors: &[&str], name: &str) -> Option<usize> {
    floors.iter().position(|floor| *floor == name)
}

/// What is wrong with one import between two layers, or two rooms of storage.
fn fault(import: &Import) -> Option<String> {
    // The crate's root declares the layers, and no more.
    let (Some((from, from_room)), Some((to, to_room))) = (layer_and_room(&import.from), layer_and_room(&import.to))
    else {
        return Some("names of the crate's root".to_owned());
    };
    if from != to {
        let (Some(above), Some(below)) = (floor(&LAYERS, from), floor(&LAYERS, to)) else {
            return Some("a layer without a floor: give it one in tests/house".to_owned());
        };
        if above < below {
            return Some(format!("{from} stands below {to}"));
        }
        if (from, to) == ("auth", "storage") && !STORAGE_FOR_AUTH.contains(&to_room) {
            return Some(format!("auth takes nothing from storage but {STORAGE_FOR_AUTH:?}"));
        }
    } else if from == "storage" && from_room != to_room {
        let (Some(above), Some(below)) = (floor(&STORAGE, from_room), floor(&STORAGE, to_room)) else {
            return Some("a room of storage without a floor: give it one in tests/house".to_owned());
        };
        if above < below {
            return Some(format!("in storage {from_room} stands below {to_room}"));
        }
    }
    None
}

#[test]
fn imports_go_downward() {
    let imports = house().imports();
    assert!(imports.len() > 300, "only {} imports: the source is not read", imports.len());
    let faults: Vec<String> = imports
        .iter()
        .filter_map(|import| Some((import, fault(import)?)))
        .map(|(import, fault)| format!("{} takes {} of {}: {fault}", import.from, import.path, import.to))
        .collect();
    assert!(faults.is_empty(), "{} imports go upward:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn no_files_stand_in_a_circle() {
    let imports = house().imports();
    let circles: Vec<String> = circles(&imports)
        .iter()
        .map(|circle| {
            let ties = imports.iter().filter(|one| circle.contains(&one.from) && circle.contains(&one.to));
            let ties: Vec<_> = ties.map(|one| format!("  {} takes {} of {}", one.from, one.path, one.to)).collect();
            format!("{} files in a circle:\n{}", circle.len(), ties.join("\n"))
        })
        .collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// Files, folders and types that the pages for newcomers name in backticks are there.
#[test]
fn the_pages_name_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source: String = house().files().iter().map(|file| read(&root.join(file))).collect();
    let is_defined = |name: &str| {
        let mut places = ["struct ", "enum ", "trait ", "type "].iter().flat_map(|kind| {
            let start = format!("{kind}{name}");
            source.match_indices(&start).map(|(at, _)| at + start.len()).collect::<Vec<_>>()
        });
        places.any(|end| !source[end..].starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    };
    let mut named = 0;
    let mut missing = Vec::new();
    for page in ["src/ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(&root.join(page));
        // Without blocks of code.
        let prose: String = text.split("```").step_by(2).collect();
        for name in prose.split('`').skip(1).step_by(2) {
            let is_path =
                name.ends_with('/') || [".rs", ".md", ".toml", ".py"].iter().any(|ending| name.ends_with(ending));
            let is_type = name.starts_with(char::is_uppercase)
                && name.contains(char::is_lowercase)
                && name.chars().all(char::is_alphanumeric);
            let found = match (is_path, is_type) {
                (true, _) => ["", "src"].iter().any(|folder| root.join(folder).join(name).exists()),
                (_, true) => is_defined(name),
                _ => continue,
            };
            named += 1;
            if !found {
                missing.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(named > 40, "only {named} names are read");
    assert!(missing.is_empty(), "named, but not there:\n{}", missing.join("\n"));
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Files that reach each other, each group sorted.
fn circles(imports: &[Import]) -> BTreeSet<Vec<String>> {
    let mut below: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports {
        below.entry(&import.from).or_default().insert(&import.to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = below.keys().map(|file| (*file, reach(&below, file))).collect();
    let in_circle = reached.iter().filter(|(file, reached)| reached.contains(*file));
    in_circle
        .map(|(file, below)| {
            let back = below.iter().filter(|other| reached.get(*other).is_some_and(|files| files.contains(file)));
            back.map(|other| (*other).to_owned()).collect()
        })
        .collect()
}

fn reach<'a>(below: &BTreeMap<&'a str, BTreeSet<&'a str>>, file: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = below.get(file).into_iter().flatten().copied().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(below.get(next).into_iter().flatten());
        }
    }
    reached
}

/// The reader of imports, on a small crate: aliases, nested trees, names handed on, inline modules, macros, tests.
#[test]
fn imports_lead_to_the_file_that_defines_the_name() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join("src").join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, text).expect("written");
    };
    write("lib.rs", "mod low; mod high; mod other;");
    write("low/mod.rs", "mod inner; pub use inner::{Handed, Renamed as Alias}; pub struct Own;");
    write("low/inner.rs", "pub struct Handed; pub struct Renamed; #[cfg(test)] mod tests { use crate::high::H; }");
    write(
        "other.rs",
        "#[cfg(test)] use crate::high::H; fn f() { println!(\"crate::high::H {}\", super::low::Own::X) }",
    );
    write(
        "high.rs",
        "use crate::{low::{self, Alias}, other}; fn g() { other::f(); vec![low::Handed::new::<u8>()] } mod m {}",
    );
    let found: Vec<_> = Crate::read(folder.path()).imports().into_iter().map(|one| (one.from, one.to)).collect();
    let expected = [
        ("high.rs", "low/inner.rs"),
        ("high.rs", "other.rs"),
        ("low/mod.rs", "low/inner.rs"),
        ("other.rs", "low/mod.rs"),
    ];
    assert_eq!(found, expected.map(|(from, to)| (format!("src/{from}"), format!("src/{to}"))));
    let import = |from: &str, to: &str| Import { from: from.to_owned(), to: to.to_owned(), path: String::new() };
    let circle = circles(&[import("a", "b"), import("b", "c"), import("c", "b"), import("c", "d")]);
    assert_eq!(circle.into_iter().collect::<Vec<_>>(), [["b", "c"]]);
}
