//! Options of modules, from the settings.

use crate::aws::collect;
use crate::config::Config;
use crate::config::settings::Settings;
use crate::config::values::UserSelection;
use crate::model::DetailsScope;
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
    Timing {
        interval: config.interval(),
        timeout: config.settings.check.timeout.0,
        sweep_per_second: config.settings.sweep.max_requests_per_second.0,
    }
}

pub(super) fn limits(settings: &Settings) -> Limits {
    Limits { accounts: settings.aws.max_accounts.get(), requests: settings.aws.concurrency.get() }
}

pub(super) fn live(settings: &Settings) -> collect::Options {
    let tags = settings.collect.tags.iter().chain(&settings.collect.owner_tag);
    collect::Options { last_used: settings.collect.last_used, details: DetailsScope::new(tags, false) }
}

pub(super) fn exposition(settings: &Settings) -> exposition::Options {
    let (tags, owner_tags) = (settings.collect.tags.clone(), settings.collect.owner_tag.clone());
    exposition::Options {
        users: match settings.metrics.users {
            UserSelection::All => exposition::Users::All,
            UserSelection::Keyed => exposition::Users::Keyed,
            UserSelection::Violating => exposition::Users::Violating,
            UserSelection::None => exposition::Users::None,
        },
        // Tags and owner are labels of that metric.
        user_info: settings.metrics.user_info || !tags.is_empty() || !owner_tags.is_empty(),
        tags,
        owner_tags,
        access_key_id: settings.metrics.access_key_id,
    }
}
