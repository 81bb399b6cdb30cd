//! Fuzz targets of iam-key-exporter: `scripts/fuzz`.

pub mod properties;
