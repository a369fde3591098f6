//! What has to be known of a group of data files before they are read (a file, and the siblings that lie beside it):
//! where their columns are, within which bounds their values, the checksums of their blocks, and the index that finds
//! their rows. One object for each group, outside the tables' folders, so that a clean-up by another engine spares it.
//!
//! ```text
//! header (48 bytes: magic, format, lengths of description, opening and body, checksum of the header and of all up to
//!         the body)
//! description (zstd of JSON: of which files it is, layouts, statistics)
//! opening of the row index      checksums of the body's blocks
//! body: the rest of the row index, checksums of the blocks of each data file
//! ```
//! Integers are little-endian. What comes before the body is read when the store is opened; of the body ranges are,
//! checked by their blocks. It belongs to its files and goes with them, so it may tell of values what commits, which
//! outlive them, do not. Nothing lives in it alone: it can be made again from its files.

pub(crate) mod description;
pub(crate) mod file;
mod header;
pub(crate) mod part;
