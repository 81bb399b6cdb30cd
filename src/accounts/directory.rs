//! What AWS answered about accounts, and the accounts that follow from it.

use super::{filter, shard};
use crate::config::accounts::{AccountEntry, ManagementAccount, OrganizationSection};
use crate::config::settings::Settings;
use crate::config::shard::Shard;
use crate::model::{Access, Account, AccountId, RoleArn};
use crate::policy::RuleSettings;
use crate::source::organization::{Member, MemberState, Members, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What AWS answered: the account of the credentials, and the accounts of the organisation.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    own: Option<Account>,
    members: Option<Arc<Members>>,
    /// The accounts that the latest listing lacks, when they are too many to be believed at once.
    suspected: BTreeSet<AccountId>,
}

/// A listing lacks so many accounts that it takes a second one to confirm it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shrunken {
    /// The accounts of the last accepted listing that are missing.
    pub missing: usize,
    /// The accounts of the last accepted listing.
    pub known: usize,
}

/// Identifies an account over listings and reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The account of the credentials, whichever that is.
    Own,
    /// This account.
    Account(AccountId),
}

impl Key {
    /// The account that it has to be; `None` for the one that the credentials belong to, at any time.
    pub fn account(self) -> Option<AccountId> {
        match self {
            Key::Own => None,
            Key::Account(account) => Some(account),
        }
    }
}

/// An account to check.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// `None` until the account of the credentials is identified.
    pub account: Option<AccountId>,
    /// How it is reached.
    pub access: Access,
    /// A display name; empty if there is none.
    pub name: String,
    /// Settings of the rules for this account.
    pub rules: RuleSettings,
    /// The largest number of requests to IAM per second.
    pub max_requests_per_second: f64,
}

impl Target {
    /// Whether the same source with the same limits reads the account of this target and of another one.
    pub fn is_reached_as(&self, other: &Target) -> bool {
        let Target { account: _, access, name, rules: _, max_requests_per_second } = self;
        (access, name, max_requests_per_second) == (&other.access, &other.name, &other.max_requests_per_second)
    }
}

/// The accounts to check, and what users should know about the others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Targets {
    /// The accounts that this process checks.
    pub accounts: BTreeMap<Key, Target>,
    /// Accounts of the organisation by state, over all shards; `None` without an organisation or before its first listing.
    pub states: Option<BTreeMap<&'static str, u64>>,
    /// Parts of the configuration without effect.
    pub notices: BTreeSet<Notice>,
}

/// A part of the configuration that has no effect, probably because of a mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// An entry of `include` or `exclude` matches no account of the organisation.
    UnmatchedFilter(String),
    /// `account_overrides` names an account that is not checked.
    UnusedOverride(AccountId),
}

/// Why an account is not checked any more, although the configuration has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It is not in the organisation any more.
    Left,
    /// It is suspended or closed.
    Suspended,
    /// It has moved to another unit or has other tags, and the filters do not select it any more.
    Excluded,
}

/// The states of `iam_key_exporter_organization_accounts`.
pub const STATES: [&str; 5] = ["active", "suspended", "pending", "excluded", "unknown"];

impl Directory {
    /// The account of the credentials, as AWS answered.
    pub fn own_identified(&mut self, account: Account) {
        self.own = Some(account);
    }

    /// What a listing of the organisation has to contain for its filters.
    pub fn wanted(organization: &OrganizationSection) -> Wanted {
        let filters = [&organization.include, &organization.exclude];
        Wanted {
            units: filters.iter().any(|f| !f.organizational_units.is_empty()),
            tags: filters.iter().any(|f| !f.tags.is_empty()),
        }
    }

    /// Takes a complete listing over.
    ///
    /// # Errors
    /// [`Shrunken`] when more than `max_removed_percent` of the accounts are missing, unless they were missing from the
    /// listing before, too. The last accepted listing then stays.
    pub fn listed(&mut self, members: Members, max_removed_percent: usize) -> Result<(), Shrunken> {
        let known: BTreeSet<AccountId> = self.members.iter().flat_map(|m| &m.members).map(|m| m.id).collect();
        let listed: BTreeSet<AccountId> = members.members.iter().map(|m| m.id).collect();
        let missing: BTreeSet<AccountId> = known.difference(&listed).copied().collect();
        let percent = missing.len().saturating_mul(100).checked_div(known.len()).unwrap_or_default();
        if percent > max_removed_percent && !missing.is_subset(&self.suspected) {
            let error = Shrunken { missing: missing.len(), known: known.len() };
            self.suspected = missing;
            return Err(error);
        }
        self.suspected.clear();
        self.members = Some(Arc::new(members));
        Ok(())
    }

    /// Whether the latest listing has to be confirmed by another one.
    pub fn is_doubted(&self) -> bool {
        !self.suspected.is_empty()
    }

    /// Forgets the organisation, for a configuration with another one or without.
    pub fn forget_organization(&mut self) {
        self.members = None;
        self.suspected.clear();
    }

    /// The accounts to check: an entry of the list takes precedence over a member of the organisation. `organization` is
    /// the section of the settings, or the one that the last listing was made for.
    pub fn targets(&self, settings: &Settings, organization: Option<&OrganizationSection>, shard: Shard) -> Targets {
        let mut selection = Selection { directory: self, settings, seen: BTreeSet::new(), targets: Targets::default() };
        let own_name = settings.account.name.as_deref();
        if settings.accounts.is_empty() && organization.is_none() {
            selection.add(Key::Own, None, Access::Own, own_name);
        }
        for AccountEntry { access, name } in &settings.accounts {
            match access {
                Access::Own => selection.add(Key::Own, None, Access::Own, name.as_deref().or(own_name)),
                Access::Role(role) => {
                    let account = role.arn.account;
                    selection.add(Key::Account(account), Some(account), access.clone(), name.as_deref());
                }
            }
        }
        if let (Some(organization), Some(members)) = (organization, &self.members) {
            selection.add_members(organization, members);
        }
        selection.finish(organization.is_none() || self.members.is_some(), shard)
    }

    /// Why an account is not a target any more; `None` if the configuration does not select it any more. `previous` is the
    /// directory at the time when it was one, and `same_filters` whether the filters are still those of that time.
    pub fn departure(&self, account: AccountId, previous: &Directory, same_filters: bool) -> Option<Departure> {
        match (self.member(account), previous.member(account)) {
            (None, Some(_)) if self.members.is_some() => Some(Departure::Left),
            (None, _) => None,
            (Some(member), before) => match member.state {
                MemberState::Suspended | MemberState::Closed | MemberState::Pending => Some(Departure::Suspended),
                MemberState::Active | MemberState::Unknown => {
                    let has_changed = before.is_some_and(|b| (&b.units, &b.tags) != (&member.units, &member.tags));
                    (same_filters && has_changed).then_some(Departure::Excluded)
                }
            },
        }
    }

    /// Whether the organisation has the account, whatever its state.
    pub fn has_member(&self, account: AccountId) -> bool {
        self.member(account).is_some()
    }

    fn member(&self, account: AccountId) -> Option<&Member> {
        let members = &self.members.as_ref()?.members;
        // The list is in the order of the IDs.
        members.binary_search_by_key(&account, |m| m.id).ok().and_then(|at| members.get(at))
    }
}

/// Collects targets.
struct Selection<'a> {
    directory: &'a Directory,
    settings: &'a Settings,
    seen: BTreeSet<AccountId>,
    targets: Targets,
}

impl Selection<'_> {
    fn add_members(&mut self, organization: &OrganizationSection, members: &Members) {
        let mut states = BTreeMap::from(STATES.map(|state| (state, 0_u64)));
        for member in &members.members {
            let is_management = member.id == members.management;
            let state = state(organization, member, is_management);
            if let Some(count) = states.get_mut(state) {
                *count = count.saturating_add(1);
            }
            // An unknown state is one that AWS added later: the account is checked rather than left out.
            if state != "active" && state != "unknown" {
                continue;
            }
            let own = is_management && organization.management_account == ManagementAccount::Own;
            let access = if own { Some(Access::Own) } else { self.member_role(organization, member.id) };
            if let Some(access) = access {
                self.add(Key::Account(member.id), Some(member.id), access, Some(&member.name));
            }
        }
        self.targets.states = Some(states);
        for filter in [&organization.include, &organization.exclude] {
            self.targets.notices.extend(filter::unmatched(filter, &members.members).map(Notice::UnmatchedFilter));
        }
    }

    /// The role in a member; `None` until the partition is known, which is that of the credentials.
    fn member_role(&self, organization: &OrganizationSection, account: AccountId) -> Option<Access> {
        let partition = self.directory.own.as_ref()?.partition.clone();
        let arn = RoleArn { partition, account, name: organization.role_name.clone() };
        Some(Access::Role(Box::new(organization.role(arn))))
    }

    fn add(&mut self, key: Key, account: Option<AccountId>, access: Access, name: Option<&str>) {
        let account = account.or_else(|| self.directory.own.as_ref().map(|own| own.id));
        if account.is_some_and(|id| !self.seen.insert(id)) {
            return;
        }
        let settings = self.settings;
        let overrides = account.and_then(|id| settings.account_overrides.get(&id));
        let name = overrides.and_then(|o| o.name.as_deref()).or(name);
        let name = name.or_else(|| self.directory.member(account?).map(|m| m.name.as_str()));
        let rate = overrides.and_then(|o| o.max_requests_per_second).unwrap_or(settings.aws.max_requests_per_second);
        let target = Target {
            account,
            access,
            name: name.unwrap_or_default().to_owned(),
            rules: overrides.map_or(settings.policy, |o| o.rules(settings.policy)),
            max_requests_per_second: rate.0,
        };
        self.targets.accounts.insert(key, target);
    }

    fn finish(mut self, is_listed: bool, shard: Shard) -> Targets {
        // Before the organisation is listed, or its own account identified, any account can still be discovered.
        if is_listed && self.targets.accounts.values().all(|target| target.account.is_some()) {
            let unused = self.settings.account_overrides.keys().filter(|id| !self.seen.contains(id));
            self.targets.notices.extend(unused.copied().map(Notice::UnusedOverride));
        }
        self.targets.accounts.retain(|_, target| target.account.is_none_or(|id| shard::contains(shard, id)));
        self.targets
    }
}

/// The state as the metric has it.
fn state(organization: &OrganizationSection, member: &Member, is_management: bool) -> &'static str {
    let is_included = organization.include.is_empty() || filter::selects(&organization.include, member);
    let is_skipped = is_management && organization.management_account == ManagementAccount::Skip;
    match member.state {
        MemberState::Suspended | MemberState::Closed => "suspended",
        MemberState::Pending => "pending",
        _ if !is_included || is_skipped || filter::selects(&organization.exclude, member) => "excluded",
        MemberState::Active => "active",
        MemberState::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests;
