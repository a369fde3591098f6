//! How far an import is. Its commits tell it (contract A6), so that whoever goes on with it leaves no line out and loads
//! none twice.

use std::collections::BTreeMap;

use crate::storage::catalog::commit::ImportProgress;
use crate::storage::catalog::manifest::Manifest;

/// Imports that the store knows of; the oldest are forgotten.
const KEPT_IMPORTS: usize = 1_000;

/// Of a line: so many are done once it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of all inputs, in the order in which they were given.
    pub(crate) lines: u64,
    /// The line's own, counted from 0,
    pub(crate) input: u32,
    /// and lines of it.
    pub(crate) input_lines: u64,
}

impl Place {
    fn before(self) -> Place {
        let Place { lines, input, input_lines } = self;
        Place { lines: lines.saturating_sub(1), input, input_lines: input_lines.saturating_sub(1) }
    }

    fn progress(self, finished: bool) -> ImportProgress {
        let Place { lines, input, input_lines } = self;
        ImportProgress { lines, input, input_lines, finished }
    }
}

/// Lines that are loaded together.
pub(crate) struct ImportPart {
    /// The import's id.
    pub(crate) import: String,
    /// By document.
    pub(crate) places: Vec<Place>,
    /// Of the last line, whether a document came of it or not.
    pub(crate) end: Place,
}

/// As a commit takes it.
pub(crate) type Imports = BTreeMap<String, Option<ImportProgress>>;

impl ImportPart {
    /// With everything done before a document, or with all of it.
    pub(crate) fn done(&self, left: Option<usize>, manifest: &Manifest) -> Imports {
        let place = left.and_then(|index| self.places.get(index)).map_or(self.end, |place| place.before());
        told(&self.import, place.progress(false), manifest)
    }
}

/// That nothing of an import is left.
pub(crate) fn finished(import: &str, end: Place, manifest: &Manifest) -> Imports {
    told(import, end.progress(true), manifest)
}

fn told(import: &str, progress: ImportProgress, manifest: &Manifest) -> Imports {
    let mut imports = Imports::new();
    if !manifest.imports.contains_key(import) {
        imports.extend(manifest.old_imports(KEPT_IMPORTS - 1).into_iter().map(|old| (old.clone(), None)));
    }
    imports.insert(import.to_owned(), Some(progress));
    imports
}
