//! Lists the accounts of an organisation (AWS Organizations API), or fails: never a part of them.

mod units;

use super::errors;
use super::pages::Pages;
use super::process::{ORGANIZATIONS_CONCURRENCY, Process};
use super::session::RoleSession;
use crate::model::{AccountId, Tag};
use crate::source::{Member, MemberLister, MemberState, Members, SourceError, Wanted};
use aws_sdk_organizations::Client;
use aws_sdk_organizations::types::Account;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The largest page of Organizations (`MaxResults` in the Organizations API Reference).
const PAGE: i32 = 20;
/// The quota is 10,000 accounts, in one place 50,000 (AWS Organizations User Guide, "Quotas").
const MOST_ACCOUNTS: usize = 100_000;
/// The quota is 50 tags a resource.
const MOST_TAGS: usize = 1000;

/// Lists an organisation with the credentials of the process, or with the session of a role.
pub(super) struct Organization {
    process: Arc<Process>,
    session: Option<Arc<RoleSession>>,
    client: OnceCell<Client>,
}

impl Organization {
    pub(super) fn new(process: Arc<Process>, session: Option<Arc<RoleSession>>) -> Self {
        Organization { process, session, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&Client, SourceError> {
        self.client.get_or_try_init(|| self.process.organizations(self.session.as_ref())).await
    }

    async fn list(&self, wanted: Wanted) -> Result<Members, SourceError> {
        if let Some(session) = &self.session {
            // A role that cannot be assumed is one error, not one for each request.
            session.get().await?;
        }
        let client = self.client().await?;
        let management = management_account(client).await?;
        let mut accounts = accounts(client).await?;
        if !accounts.contains_key(&management) {
            return Err(SourceError::UnexpectedResponse {
                operation: "ListAccounts",
                message: format!("it lacks the management account {management}"),
            });
        }
        let mut tags = if wanted.tags { tags(client, &accounts).await? } else { BTreeMap::new() };
        if wanted.units {
            units::complete(client, &mut accounts).await?;
        }
        let members = accounts.into_iter().map(|(id, listed)| Member {
            id,
            name: listed.name,
            state: listed.state,
            units: if wanted.units { listed.units.unwrap_or_default() } else { Vec::new() },
            tags: tags.remove(&id).unwrap_or_default(),
        });
        Ok(Members { management, members: members.collect() })
    }
}

impl MemberLister for Organization {
    fn members<'a>(&'a self, wanted: &'a Wanted) -> BoxFuture<'a, Result<Members, SourceError>> {
        Box::pin(self.list(*wanted))
    }
}

/// An account as Organizations lists it.
struct Listed {
    name: String,
    state: MemberState,
    /// By `Paths`; `None` if AWS leaves it out.
    units: Option<Vec<String>>,
}

/// By ID: an account that is listed twice is one account.
type Accounts = BTreeMap<AccountId, Listed>;

async fn management_account(client: &Client) -> Result<AccountId, SourceError> {
    const OPERATION: &str = "DescribeOrganization";
    let answer = client.describe_organization().send().await.map_err(|e| errors::classify(OPERATION, &e))?;
    let id = answer.organization().and_then(|o| o.master_account_id()).and_then(|id| id.parse().ok());
    id.ok_or(SourceError::UnexpectedResponse {
        operation: OPERATION,
        message: "it names no management account of twelve digits".into(),
    })
}

/// All members of a list of Organizations, of which `page` requests one page with its token: it returns the members and the
/// token of the next page. A page can be empty, and others follow.
async fn all<T, F>(
    operation: &'static str,
    most: usize,
    page: impl Fn(Option<String>) -> F,
) -> Result<Vec<T>, SourceError>
where
    F: Future<Output = Result<(Option<Vec<T>>, Option<String>), SourceError>>,
{
    let mut members = Vec::new();
    let mut pages = Pages::new(operation, most);
    loop {
        let (page, token) = page(pages.marker()).await?;
        let page = page.unwrap_or_default();
        let length = page.len();
        members.extend(page);
        if !pages.next(length, token.is_some(), token.as_deref())? {
            return Ok(members);
        }
    }
}

/// All accounts of the organisation.
async fn accounts(client: &Client) -> Result<Accounts, SourceError> {
    const OPERATION: &str = "ListAccounts";
    let page = |token| async move {
        let request = client.list_accounts().max_results(PAGE).set_next_token(token);
        let answer = request.send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        Ok((answer.accounts, answer.next_token))
    };
    by_id(OPERATION, &all(OPERATION, MOST_ACCOUNTS, page).await?)
}

/// The accounts directly below a root or unit.
async fn accounts_below(client: &Client, parent: &str) -> Result<Accounts, SourceError> {
    const OPERATION: &str = "ListAccountsForParent";
    let page = |token| async move {
        let request = client.list_accounts_for_parent().parent_id(parent).max_results(PAGE).set_next_token(token);
        let answer = request.send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        Ok((answer.accounts, answer.next_token))
    };
    by_id(OPERATION, &all(OPERATION, MOST_ACCOUNTS, page).await?)
}

fn by_id(operation: &'static str, accounts: &[Account]) -> Result<Accounts, SourceError> {
    let mut by_id = Accounts::new();
    for account in accounts {
        let (id, listed) = listed(operation, account)?;
        if by_id.insert(id, listed).is_some() {
            tracing::debug!(account = %id, operation, "an account is listed twice");
        }
    }
    Ok(by_id)
}

fn listed(operation: &'static str, account: &Account) -> Result<(AccountId, Listed), SourceError> {
    let id: AccountId =
        account.id().unwrap_or_default().parse().map_err(|error: crate::model::account::InvalidAccountId| {
            SourceError::UnexpectedResponse { operation, message: error.to_string() }
        })?;
    // AWS retires `Status`; emulators have only that.
    #[allow(deprecated, reason = "where `State` is missing there is nothing else")]
    let state = account.state().map(|s| s.as_str()).or(account.status().map(|s| s.as_str()));
    let known = state.map_or(MemberState::Unknown, MemberState::parse);
    if known == MemberState::Unknown {
        tracing::debug!(account = %id, ?state, "the state of an account is not known");
    }
    let units = account.paths().iter().find_map(|path| units::of_path(path, id));
    Ok((id, Listed { name: account.name().unwrap_or_default().to_owned(), state: known, units }))
}

/// The tags of accounts that are in use, with one request for each.
async fn tags(client: &Client, accounts: &Accounts) -> Result<BTreeMap<AccountId, Vec<Tag>>, SourceError> {
    let over = |state| matches!(state, MemberState::Suspended | MemberState::Closed);
    let in_use: Vec<AccountId> = accounts.iter().filter(|(_, a)| !over(a.state)).map(|(id, _)| *id).collect();
    let requests = in_use.into_iter().map(|id| async move { Ok((id, tags_of(client, id).await?)) });
    futures_util::stream::iter(requests).buffer_unordered(ORGANIZATIONS_CONCURRENCY).try_collect().await
}

async fn tags_of(client: &Client, account: AccountId) -> Result<Vec<Tag>, SourceError> {
    const OPERATION: &str = "ListTagsForResource";
    let page = |token| async move {
        let request = client.list_tags_for_resource().resource_id(account.as_str()).set_next_token(token);
        let answer = request.send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        Ok((answer.tags, answer.next_token))
    };
    let tags = all(OPERATION, MOST_TAGS, page).await?;
    Ok(tags.iter().filter_map(|tag| Tag::new(tag.key(), tag.value())).collect())
}
