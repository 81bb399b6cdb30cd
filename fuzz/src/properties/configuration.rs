//! The configuration file: a message on one line, or settings that are written back to the same.

use iam_key_exporter::config::settings::Settings;
use iam_key_exporter::model::{Access, ExternalId};

/// The property of this file.
pub fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut settings = match Settings::from_yaml(text) {
        Ok(settings) => settings,
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
            return;
        }
    };
    let policy = settings.policy();
    assert_eq!(policy.exemptions.iter().count(), settings.exemptions.len());
    for exemption in policy.exemptions.iter() {
        assert!(!exemption.selector.is_empty() && !exemption.reason.trim().is_empty(), "{exemption:?}");
    }
    hides_external_ids(&settings);
    remove_external_ids(&mut settings);
    let written = settings.to_yaml();
    let again = Settings::from_yaml(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again, settings, "written back as {written}");
}

/// External IDs are confidential. Those that are long enough not to occur by chance are in nothing that is printed.
fn hides_external_ids(settings: &Settings) {
    let of_accounts = settings.accounts.iter().filter_map(|entry| match &entry.access {
        Access::Role(role) => role.external_id.as_ref(),
        Access::Own => None,
    });
    let of_organization = settings.organization.iter().filter_map(|o| o.external_id.as_ref());
    let count = of_accounts.clone().chain(of_organization.clone()).count();
    let printed = settings.to_yaml();
    assert!(printed.matches("[redacted]").count() >= count, "{count} external IDs in {printed}");
    let mut hidden = settings.clone();
    remove_external_ids(&mut hidden);
    let others = hidden.to_yaml();
    for id in of_accounts.chain(of_organization).map(ExternalId::expose).filter(|id| id.len() >= 8) {
        if !others.contains(id) {
            assert!(!printed.contains(id) && !format!("{settings:?}").contains(id), "an external ID is shown");
        }
    }
}

/// What is hidden cannot be read back.
fn remove_external_ids(settings: &mut Settings) {
    for entry in &mut settings.accounts {
        if let Access::Role(role) = &mut entry.access {
            role.external_id = None;
        }
    }
    if let Some(organization) = &mut settings.organization {
        organization.external_id = None;
    }
}
