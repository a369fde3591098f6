//! What runs beside requests, with what they leave of the machine.

pub mod text_indexer;
