//! The organisational units above accounts. AWS names them in `Paths` of every account. Where that is missing, the tree
//! is read from its root: with `U` units and `A` accounts that takes 2 `U` + `A` / 20 requests, one for each list of units
//! and of accounts. To ask for the parents of each account takes one request for each account and each unit, which is less
//! only for a few accounts.

use super::{Accounts, PAGE, accounts_below, all};
use crate::aws::errors;
use crate::aws::pages::Pages;
use crate::aws::process::ORGANIZATIONS_CONCURRENCY;
use crate::model::AccountId;
use crate::source::SourceError;
use aws_sdk_organizations::Client;
use aws_sdk_organizations::types::ParentType;
use futures_util::StreamExt;
use std::collections::{HashMap, HashSet};

/// The quota is 2,000 units in an organisation, in five levels.
const MOST_UNITS: usize = 20_000;
const DEEPEST: usize = 50;

/// The IDs of root and units in `o-.../r-.../ou-.../ou-.../ACCOUNT/`; `None` if the path is not the account's.
pub(super) fn of_path(path: &str, account: AccountId) -> Option<Vec<String>> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let [organization, root, units @ .., last] = &parts[..] else { return None };
    let named = organization.starts_with("o-") && root.starts_with("r-") && units.iter().all(|u| u.starts_with("ou-"));
    (named && *last == account.as_str())
        .then(|| std::iter::once(root).chain(units).map(|unit| (*unit).to_owned()).collect())
}

/// Completes the accounts whose units are not known.
pub(super) async fn complete(client: &Client, accounts: &mut Accounts) -> Result<(), SourceError> {
    if missing(accounts).len() > few(accounts.len()) {
        walk(client, accounts).await?;
    }
    // Also those that were moved while the tree was read.
    let missing = missing(accounts);
    if missing.len() > few(accounts.len()) {
        return Err(SourceError::Incomplete(format!(
            "ListAccounts returned {} accounts, {} of them are in no organisational unit and in no root",
            accounts.len(),
            missing.len()
        )));
    }
    let mut known = HashMap::new();
    for id in missing {
        let units = ancestors(client, id.as_str(), &mut known).await?;
        if let Some(account) = accounts.get_mut(&id) {
            account.units = Some(units);
        }
    }
    Ok(())
}

fn missing(accounts: &Accounts) -> Vec<AccountId> {
    accounts.iter().filter(|(_, a)| a.units.is_none()).map(|(id, _)| *id).collect()
}

/// So many accounts are cheaper to complete one by one.
fn few(accounts: usize) -> usize {
    accounts.checked_div(PAGE.unsigned_abs() as usize).unwrap_or_default().saturating_add(1)
}

/// Reads the tree level by level.
async fn walk(client: &Client, listed: &mut Accounts) -> Result<(), SourceError> {
    let mut level: Vec<Vec<String>> = roots(client).await?.into_iter().map(|root| vec![root]).collect();
    let mut seen: HashSet<String> = level.iter().flatten().cloned().collect();
    while !level.is_empty() {
        let reads = level.into_iter().map(|path| async move {
            let parent = path.last().map(String::as_str).unwrap_or_default();
            let below = accounts_below(client, parent).await?;
            let units = units_below(client, parent).await?;
            Ok::<_, SourceError>((path, below, units))
        });
        let mut reads = std::pin::pin!(futures_util::stream::iter(reads).buffer_unordered(ORGANIZATIONS_CONCURRENCY));
        let mut next = Vec::new();
        while let Some(read) = reads.next().await {
            let (path, below, units) = read?;
            for id in below.keys() {
                if let Some(account) = listed.get_mut(id) {
                    account.units = Some(path.clone());
                }
            }
            for unit in units {
                if !seen.insert(unit.clone()) || seen.len() > MOST_UNITS || path.len() > DEEPEST {
                    let message = format!("the units below {} do not end", path.concat());
                    return Err(SourceError::Pagination { operation: "ListOrganizationalUnitsForParent", message });
                }
                next.push(path.iter().cloned().chain([unit]).collect());
            }
        }
        level = next;
    }
    Ok(())
}

async fn roots(client: &Client) -> Result<Vec<String>, SourceError> {
    const OPERATION: &str = "ListRoots";
    let page = |token| async move {
        let request = client.list_roots().max_results(PAGE).set_next_token(token);
        let answer = request.send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        Ok((answer.roots, answer.next_token))
    };
    let roots = all(OPERATION, MOST_UNITS, page).await?;
    roots.iter().map(|root| identified(OPERATION, root.id())).collect()
}

async fn units_below(client: &Client, parent: &str) -> Result<Vec<String>, SourceError> {
    const OPERATION: &str = "ListOrganizationalUnitsForParent";
    let page = |token| async move {
        let request = client.list_organizational_units_for_parent().parent_id(parent);
        let request = request.max_results(PAGE).set_next_token(token);
        let answer = request.send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        Ok((answer.organizational_units, answer.next_token))
    };
    let units = all(OPERATION, MOST_UNITS, page).await?;
    units.iter().map(|unit| identified(OPERATION, unit.id())).collect()
}

/// Root and units above an account, one request for each that is not known yet.
async fn ancestors(
    client: &Client,
    account: &str,
    known: &mut HashMap<String, (String, bool)>,
) -> Result<Vec<String>, SourceError> {
    let mut units = Vec::new();
    let mut child = account.to_owned();
    loop {
        let (parent, is_root) = match known.get(&child) {
            Some(parent) => parent.clone(),
            None => parent(client, &child).await?,
        };
        known.insert(child, (parent.clone(), is_root));
        units.push(parent.clone());
        if is_root {
            units.reverse();
            return Ok(units);
        }
        if units.len() > DEEPEST {
            let message = format!("the units above account {account} do not end");
            return Err(SourceError::Pagination { operation: "ListParents", message });
        }
        child = parent;
    }
}

/// The parent, and whether it is a root.
async fn parent(client: &Client, child: &str) -> Result<(String, bool), SourceError> {
    const OPERATION: &str = "ListParents";
    let mut pages = Pages::new(OPERATION, MOST_UNITS);
    loop {
        let request = client.list_parents().child_id(child).max_results(PAGE).set_next_token(pages.marker());
        let answer = request.send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        if let Some(parent) = answer.parents().first() {
            let is_root = parent.r#type() == Some(&ParentType::Root);
            return Ok((identified(OPERATION, parent.id())?, is_root));
        }
        if !pages.next(0, answer.next_token().is_some(), answer.next_token())? {
            let message = format!("{child} has no parent");
            return Err(SourceError::UnexpectedResponse { operation: OPERATION, message });
        }
    }
}

fn identified(operation: &'static str, id: Option<&str>) -> Result<String, SourceError> {
    let id = id.filter(|id| !id.is_empty());
    id.map(str::to_owned)
        .ok_or(SourceError::UnexpectedResponse { operation, message: "a root or unit has no ID".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_root_and_units() {
        let account: AccountId = "111111111111".parse().unwrap();
        let units = |path| of_path(path, account).map(|units| units.join(" "));
        assert_eq!(units("o-a/r-b/ou-c/ou-d/111111111111/").as_deref(), Some("r-b ou-c ou-d"));
        assert_eq!(units("o-a/r-b/111111111111").as_deref(), Some("r-b"));
        for bad in ["", "/", "o-a/111111111111/", "o-a/r-b/ou-c/", "o-a/r-b/222222222222/", "o-a/r-b/x/111111111111/"] {
            assert_eq!(units(bad), None, "{bad}");
        }
    }
}
