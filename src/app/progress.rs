//! Shows the progress of a check on a terminal.

use crate::source::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A progress bar on standard error; indicatif draws nothing if that is not a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(120));
        Bar(bar)
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn phase(&self, name: &'static str, total: Option<u64>) {
        let form = match total {
            Some(_) => "{spinner} {msg}: {pos} of {len} users, {eta} left [{wide_bar}]",
            None => "{spinner} {msg}, {elapsed}",
        };
        self.0.set_style(ProgressStyle::with_template(form).expect("the template is a constant"));
        self.0.set_message(name);
        self.0.set_position(0);
        self.0.set_length(total.unwrap_or(0));
        self.0.reset_eta();
    }

    fn step(&self) {
        self.0.inc(1);
    }
}
