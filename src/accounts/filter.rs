//! The selections `include` and `exclude` of an organisation.

use crate::config::accounts::AccountFilter;
use crate::source::organization::Member;
use wildmatch::WildMatch;

/// Whether the selection contains the account: by its ID, a unit above it, or a tag.
pub(super) fn selects(filter: &AccountFilter, member: &Member) -> bool {
    filter.accounts.contains(&member.id)
        || member.units.iter().any(|unit| filter.organizational_units.contains(unit))
        || filter.tags.iter().any(|(key, pattern)| has_tag(member, key, pattern))
}

fn has_tag(member: &Member, key: &str, pattern: &str) -> bool {
    member.tags.iter().any(|tag| *tag.key == *key && WildMatch::new(pattern).matches(&tag.value))
}

/// The entries that select no account: a mistake, or an account that has left.
pub(super) fn unmatched<'a>(filter: &'a AccountFilter, members: &'a [Member]) -> impl Iterator<Item = String> + 'a {
    let accounts = filter.accounts.iter().filter(|id| !members.iter().any(|m| m.id == **id));
    let units = filter.organizational_units.iter().filter(|unit| !members.iter().any(|m| m.units.contains(unit)));
    let tags = filter.tags.iter().filter(|(key, pattern)| !members.iter().any(|m| has_tag(m, key, pattern)));
    let accounts = accounts.map(|id| format!("account {id}"));
    accounts.chain(units.cloned()).chain(tags.map(|(key, pattern)| format!("tag {key}={pattern}")))
}
