//! Shows the progress of a check on a terminal.

use crate::accounts::Target;
use crate::schedule::once::ChecksProgress;
use crate::source::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::Arc;
use std::time::Duration;

/// A progress bar on standard error; indicatif draws nothing if that is not a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn style(form: &str) -> ProgressStyle {
    ProgressStyle::with_template(form).expect("the template is a constant")
}

/// The progress of one or many checks.
pub(super) struct Bar {
    bar: ProgressBar,
    /// The users of one account are counted, or else accounts.
    one_account: bool,
}

impl Bar {
    /// For checks of so many accounts.
    pub(super) fn new(accounts: usize) -> Self {
        let bar = bar();
        if accounts != 1 {
            bar.set_style(style("{spinner} {pos} of {len} accounts, {elapsed} [{wide_bar}] {msg}"));
            bar.set_length(accounts as u64);
        }
        Bar { bar, one_account: accounts == 1 }
    }

    /// For the listing of accounts.
    pub(super) fn of_listing() -> Self {
        let bar = bar();
        bar.set_style(style("{spinner} listing the accounts, {elapsed}"));
        Bar { bar, one_account: false }
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl ChecksProgress for Bar {
    fn started(&self, target: &Target) -> Arc<dyn Progress> {
        if self.one_account {
            return Arc::new(Users(self.bar.clone()));
        }
        let id = target.account.map_or("own account".to_owned(), |id| id.to_string());
        let account = if target.name.is_empty() { id } else { format!("{id} ({})", target.name) };
        Arc::new(Account { bar: self.bar.clone(), account })
    }

    fn ended(&self) {
        if !self.one_account {
            self.bar.inc(1);
        }
    }
}

/// The progress of the check of one account of many.
struct Account {
    bar: ProgressBar,
    account: String,
}

impl Progress for Account {
    fn phase(&self, name: &'static str, _: Option<u64>) {
        self.bar.set_message(format!("{}: {name}", self.account));
    }
}

/// The progress of the check of a single account.
struct Users(ProgressBar);

impl Progress for Users {
    fn phase(&self, name: &'static str, total: Option<u64>) {
        let form = match total {
            Some(_) => "{spinner} {msg}: {pos} of {len} users, {eta} left [{wide_bar}]",
            None => "{spinner} {msg}, {elapsed}",
        };
        self.0.set_style(style(form));
        self.0.set_message(name);
        self.0.set_position(0);
        self.0.set_length(total.unwrap_or(0));
        self.0.reset_eta();
    }

    fn step(&self) {
        self.0.inc(1);
    }
}
