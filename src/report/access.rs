//! Whether accounts can be reached, and with which command what is missing is created.

use crate::model::{Access, AccountId, Role};
use crate::text::printable;
use std::collections::BTreeMap;

/// One account.
pub struct AccountAccess<'a> {
    /// `None` if it is that of the credentials, and was not identified.
    pub account: Option<AccountId>,
    /// A display name; empty if there is none.
    pub name: &'a str,
    /// How it is reached.
    pub access: &'a Access,
    /// Whether it can be.
    pub outcome: Outcome,
}

/// What an attempt to read an account, or to list the organisation, came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that the collector needs is permitted.
    Reachable,
    /// The role cannot be assumed, with this text of AWS.
    RoleDenied(String),
    /// AWS denies operations, with this text for the first of them.
    Denied(Vec<String>, String),
    /// Anything else: the reason, and a message.
    Failed(&'static str, String),
}

/// All accounts, and how the organisation was listed.
pub struct AccessReport<'a> {
    /// The accounts.
    pub accounts: Vec<AccountAccess<'a>>,
    /// How the organisation was listed; `None` if none is configured.
    pub listing: Option<Outcome>,
    /// The role that lists the organisation; `None` for the credentials as they are.
    pub discovery_role: Option<&'a Role>,
    /// The collector, as a file of `deploy/aws/policies` and a parameter of the templates have it.
    pub collector: &'static str,
    /// Whether tags or groups of users are read.
    pub details: bool,
}

const MEMBER_ROLE: &str = "aws cloudformation deploy --stack-name iam-key-exporter \
     --template-file deploy/aws/organization/member-role.yaml --capabilities CAPABILITY_NAMED_IAM --parameter-overrides";
const ASSUME: &str = "with credentials of the account that the exporter runs in, HUB_ROLE being the role of the exporter:\n  \
     aws iam put-role-policy --role-name HUB_ROLE --policy-name assume \
     --policy-document file://deploy/aws/policies/assume.json\n";
const DISCOVERY: &str = "with credentials of the account that the exporter runs in, HUB_ROLE being the role of the exporter:\n  \
     aws iam put-role-policy --role-name HUB_ROLE --policy-name discovery \
     --policy-document file://deploy/aws/policies/discovery.json\n\
     and unless that is the management account or a delegated administrator, with credentials of the management account:\n  \
     aws organizations put-resource-policy --content file://deploy/aws/organization/delegation.json\n";

impl AccessReport<'_> {
    /// Whether every account is known and can be reached.
    pub fn is_complete(&self) -> bool {
        let listed = self.listing.as_ref().is_none_or(|listing| *listing == Outcome::Reachable);
        listed && self.accounts.iter().all(|account| account.outcome == Outcome::Reachable)
    }

    /// A table of the accounts, then for everything that is missing the command that creates it.
    pub fn render(&self) -> String {
        let mut rows = vec![["ACCOUNT", "NAME", "REACHED BY", "RESULT"].map(String::from)];
        let mut fixes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if let Some(listing) = &self.listing {
            let how = self.discovery_role.map_or("own credentials".to_owned(), |role| role.arn.to_string());
            rows.push(["organization".into(), String::new(), how, self.result(listing, self.discovery_role)]);
            if let Some(fix) = self.listing_fix(listing) {
                fixes.entry(fix).or_default().push("organization".into());
            }
        }
        for account in &self.accounts {
            let id = account.account.map_or("own account".to_owned(), |id| id.to_string());
            let role = role(account.access);
            let how = role.map_or("own credentials".to_owned(), |role| role.arn.to_string());
            rows.push([id.clone(), account.name.into(), how, self.result(&account.outcome, role)]);
            if let Some(fix) = self.account_fix(&account.outcome, role) {
                fixes.entry(fix).or_default().push(id);
            }
        }
        let reachable = self.accounts.iter().filter(|account| account.outcome == Outcome::Reachable).count();
        let mut out = columns(&rows);
        out.push_str(&format!("\n{} accounts, {reachable} reachable\n", self.accounts.len()));
        for (fix, accounts) in fixes {
            out.push_str(&format!("\n{}: {fix}", accounts.join(", ")));
        }
        out
    }

    fn result(&self, outcome: &Outcome, role: Option<&Role>) -> String {
        match outcome {
            Outcome::Reachable => "reachable".into(),
            Outcome::RoleDenied(message) => format!("the role cannot be assumed: {}", self.why_denied(message, role)),
            Outcome::Denied(operations, message) => {
                let forbidden = if is_forbidden(message) { ", which a policy forbids explicitly" } else { "" };
                format!("missing permission: {}{forbidden}", operations.join(", "))
            }
            Outcome::Failed(reason, message) => format!("not verified ({reason}): {message}"),
        }
    }

    /// AWS names what is missing in some cases only. What can be excluded by other accounts is.
    fn why_denied(&self, message: &str, role: Option<&Role>) -> &'static str {
        let has_external_id = role.is_some_and(|role| role.external_id.is_some());
        if lacks_permission(message) {
            return "the exporter's own role has no permission sts:AssumeRole for it";
        }
        if is_forbidden(message) {
            return "a policy forbids it explicitly, such as a service control policy";
        }
        match (self.may_assume(role), has_external_id) {
            (true, true) => {
                "it does not exist, its trust policy does not name the exporter's own role, or requires another external ID"
            }
            (true, false) => {
                "it does not exist, its trust policy does not name the exporter's own role, or requires an external ID, \
                 and none is configured"
            }
            (false, true) => {
                "it does not exist, its trust policy does not name the exporter's own role, or requires another external \
                 ID; or the exporter's own role has no permission sts:AssumeRole"
            }
            (false, false) => {
                "it does not exist, its trust policy does not name the exporter's own role, or requires an external ID, \
                 and none is configured; or the exporter's own role has no permission sts:AssumeRole"
            }
        }
    }

    /// Whether a role of the same name was assumed in another account: permissions name the role, not accounts.
    fn may_assume(&self, role: Option<&Role>) -> bool {
        let Some(wanted) = role else { return false };
        self.accounts.iter().any(|account| {
            let denied = matches!(account.outcome, Outcome::RoleDenied(_) | Outcome::Failed(..));
            !denied && self::role(account.access).is_some_and(|role| role.arn.name == wanted.arn.name)
        })
    }

    fn account_fix(&self, outcome: &Outcome, role: Option<&Role>) -> Option<String> {
        match outcome {
            Outcome::Reachable | Outcome::Failed(..) => None,
            Outcome::RoleDenied(message) | Outcome::Denied(_, message) if is_forbidden(message) => None,
            Outcome::RoleDenied(message) if lacks_permission(message) => Some(ASSUME.into()),
            Outcome::RoleDenied(_) => {
                let or =
                    if self.may_assume(role) { String::new() } else { format!("or, if the role is there, {ASSUME}") };
                Some(self.member_role(role?, "") + &or)
            }
            Outcome::Denied(operations, _) => Some(self.permissions(operations, role)),
        }
    }

    fn listing_fix(&self, outcome: &Outcome) -> Option<String> {
        match outcome {
            Outcome::Reachable | Outcome::Failed(..) => None,
            Outcome::RoleDenied(message) if lacks_permission(message) => Some(ASSUME.into()),
            Outcome::RoleDenied(_) => Some(self.member_role(self.discovery_role?, " Discovery=true")),
            Outcome::Denied(..) => Some(match self.discovery_role {
                None => DISCOVERY.into(),
                Some(role) => put_policy(Some(role), "discovery"),
            }),
        }
    }

    /// The command that creates the role, or corrects its trust policy.
    fn member_role(&self, role: &Role, more: &str) -> String {
        let (path, name) = role.arn.name.as_str().rsplit_once('/').map_or(("", role.arn.name.as_str()), |parts| parts);
        let path = if path.is_empty() { String::new() } else { format!(" RolePath={}", quoted(&format!("/{path}/"))) };
        let name = if name == "iam-key-exporter" { String::new() } else { format!(" RoleName={}", quoted(name)) };
        let (condition, placeholder) = match role.external_id {
            Some(_) => ("ExternalId=EXTERNAL_ID", "EXTERNAL_ID the external_id of the configuration file"),
            None => ("OrganizationId=ORGANIZATION_ID", "ORGANIZATION_ID the ID of the organization (o-...)"),
        };
        let tags = if self.details { " CollectTags=true" } else { "" };
        let collector = if self.collector == "auto" { String::new() } else { format!(" Collector={}", self.collector) };
        format!(
            "with credentials of the account, HUB_ROLE_ARN being the ARN of the exporter's own role, {placeholder}:\n  \
             {MEMBER_ROLE} HubRoleArn=HUB_ROLE_ARN {condition}{name}{path}{collector}{tags}{more}\n"
        )
    }

    fn permissions(&self, operations: &[String], role: Option<&Role>) -> String {
        let file = |operation: &String| match operation.as_str() {
            "iam:GetAccountAuthorizationDetails" => "tags",
            "iam:GetAccessKeyLastUsed" => "last-used",
            _ => self.collector,
        };
        let mut files: Vec<&str> = operations.iter().map(file).collect();
        files.dedup();
        files.into_iter().map(|file| put_policy(role, file)).collect()
    }
}

fn role(access: &Access) -> Option<&Role> {
    match access {
        Access::Own => None,
        Access::Role(role) => Some(role),
    }
}

/// AWS names the kind of policy that is missing for requests within an account and for those of a session.
fn lacks_permission(message: &str) -> bool {
    message.contains("no identity-based policy allows")
}

fn is_forbidden(message: &str) -> bool {
    message.contains("explicit deny") || message.contains("service control policy")
}

/// The command that gives a role the permissions of a file.
fn put_policy(role: Option<&Role>, file: &str) -> String {
    let name = role.map(|role| role.arn.name.as_str());
    let name = name.map_or("HUB_ROLE".to_owned(), |name| quoted(name.rsplit('/').next().unwrap_or(name)));
    let who = if role.is_some() { "" } else { ", HUB_ROLE being the role of the exporter" };
    format!(
        "with credentials of the account{who}:\n  aws iam put-role-policy --role-name {name} --policy-name {file} \
         --policy-document file://deploy/aws/policies/{file}.json\n"
    )
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@/-".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn columns(rows: &[[String; 4]]) -> String {
    let shown: Vec<[String; 4]> =
        rows.iter().map(|row| row.each_ref().map(|cell| printable(cell).into_owned())).collect();
    let width = |column: usize| shown.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (id, name, how) = (width(0), width(1), width(2));
    let line = |row: &[String; 4]| {
        let [account, title, access, result] = row;
        format!("{account:<id$}  {title:<name$}  {access:<how$}  {result}\n")
    };
    shown.iter().map(line).collect()
}
