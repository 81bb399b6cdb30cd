//! The properties that the fuzz targets check, on the stable compiler: with the corpora in `fuzz/corpus`, and with generated
//! inputs that are damaged in the ways of a network, a disk and a person with an editor.

#[path = "../../fuzz/src/properties/mod.rs"]
mod properties;

mod corpus;
mod generated;
