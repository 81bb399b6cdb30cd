//! What must hold for every input, however it is damaged: one function for each parser of outside data, which panics if it
//! does not hold. The fuzz targets call them with what the fuzzer makes up, `tests/properties` with the corpora and with
//! generated inputs, on the stable compiler.

pub mod accept_encoding;
pub mod arn;
pub mod configuration;
pub mod credential_report;
pub mod exposition;
pub mod inventory;
pub mod text_format;
pub mod truncation;
pub mod web_configuration;

use iam_key_exporter::model::Timestamp;

/// A property.
pub type Property = fn(&[u8]);

/// Every property by the name of its fuzz target, which is that of its corpus, too.
pub const ALL: &[(&str, Property)] = &[
    ("accept_encoding", accept_encoding::holds),
    ("arn", arn::holds),
    ("configuration", configuration::holds),
    ("credential_report", credential_report::holds),
    ("exposition", exposition::holds),
    ("inventory", inventory::holds),
    ("truncation", truncation::holds),
    ("web_configuration", web_configuration::holds),
];

/// A time at which everything happens: 2026-02-15T00:00:00Z.
fn now() -> Timestamp {
    Timestamp::from_second(1_771_113_600).expect("a date of this century")
}

/// Places to cut a text of this length at: all of a short one, some of a long one, which differ from length to length.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let step = (length / 16).max(1);
    (length % step..length).step_by(step)
}
