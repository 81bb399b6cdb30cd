//! The collectors that call AWS: `live`, `report`, and `auto`, which picks one of them.

pub mod auto;
pub mod live;
pub mod report;

mod users;

pub use auto::AutoSource;
pub use live::{LiveSource, Options};
pub use report::ReportSource;
