//! Options of modules, from the settings.

use crate::aws::collect;
use crate::config::Config;
use crate::config::settings::Settings;
use crate::config::values::UserSelection;
use crate::schedule::{Limits, Timing};
use crate::{aws, exposition};

pub(super) fn aws(settings: &Settings) -> aws::Settings {
    aws::Settings {
        region: settings.aws.region.clone(),
        profile: settings.aws.profile.clone(),
        concurrency: settings.aws.concurrency.get(),
    }
}

pub(super) fn timing(config: &Config) -> Timing {
    Timing { interval: config.interval(), timeout: config.settings.check.timeout.0, sweep_per_second: 0.0 }
}

pub(super) fn limits(settings: &Settings) -> Limits {
    Limits { accounts: settings.aws.max_accounts.get(), requests: settings.aws.concurrency.get() }
}

pub(super) fn live(settings: &Settings) -> collect::Options {
    collect::Options { last_used: settings.collect.last_used, tags: settings.collect.tags.clone() }
}

pub(super) fn exposition(settings: &Settings) -> exposition::Options {
    let tags = settings.collect.tags.clone();
    exposition::Options {
        users: match settings.metrics.users {
            UserSelection::All => exposition::Users::All,
            UserSelection::Keyed => exposition::Users::Keyed,
            UserSelection::Violating => exposition::Users::Violating,
            UserSelection::None => exposition::Users::None,
        },
        // Tags are labels of that metric.
        user_info: settings.metrics.user_info || !tags.is_empty(),
        tags,
        access_key_id: settings.metrics.access_key_id,
    }
}
