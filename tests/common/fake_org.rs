//! Many accounts behind one [`FakeIam`](super::FakeIam): STS AssumeRole into each, and AWS Organizations (JSON in, JSON
//! out).
//!
//! ```ignore
//! let iam = FakeIam::start(Account::example())             // the account of the own credentials
//!     .organization(Organization::new([
//!         Member::new("111111111111", Account::example()),  // its role `iam-key-exporter` can be assumed
//!         Member::new("222222222222", Account::of_size(20)).external_id("s3cret").units(&["ou-prod"]).tag("env", "prod"),
//!     ]));
//! iam.fail(On::assuming("111111111111"), Fault::ACCESS_DENIED);             // its AssumeRole
//! iam.fail(On::operation("ListUsers").in_account("222222222222"), Fault::THROTTLED);
//! iam.fail(On::operation("ListAccounts"), Fault::Error { status: 400, code: "TooManyRequestsException", message: "" });
//! iam.change_organization(|o| o.member("111111111111").state = Some("SUSPENDED"));
//! assert_eq!(iam.calls_in("222222222222"), 3);
//! ```
//!
//! A request is of the account whose AssumeRole handed out the access key ID in its `Authorization` header; with any
//! other key ID it is of the own account. Sessions that are over get `ExpiredToken`.
//! The own account is the management account; sessions of other accounts may list the organisation if these are
//! [`delegated`](Organization::delegated).

use super::account::Account;
use super::fake_iam::{Call, Fault, Pages};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub struct Organization {
    /// Accounts other than the own one.
    pub members: Vec<Member>,
    /// How the own account, the management account, is listed, and which role it has; `None` for the defaults.
    pub own: Option<Member>,
    /// The management account; `None` for the own one.
    pub management: Option<String>,
    /// Accounts whose sessions may list the organisation, beside the own account.
    pub delegated: Vec<String>,
    /// Units without accounts, each with its ancestors, from the root on.
    pub empty_units: Vec<Vec<String>>,
    /// How lists are split; at most 20 members a page are given out.
    pub pages: Pages,
    /// Whether accounts carry `Paths`.
    pub paths: bool,
    /// Accounts that ListAccountsForParent leaves out.
    pub hidden_from_tree: Vec<String>,
    /// How long sessions last.
    pub session: SignedDuration,
}

#[derive(Debug, Clone)]
pub struct Member {
    pub account: Account,
    /// The name in the organisation.
    pub name: String,
    /// `State`, and `Status` as AWS derives it; `None` leaves `State` out.
    pub state: Option<&'static str>,
    /// `None` leaves it out.
    pub status: Option<&'static str>,
    /// Above the account, from below the root on.
    pub units: Vec<String>,
    pub tags: Vec<(String, String)>,
    /// The name (with path) of the role that can be assumed; `None` if there is none.
    pub role: Option<String>,
    /// The external ID that the role's trust policy requires.
    pub external_id: Option<String>,
    /// Whether ListAccounts has the account.
    pub listed: bool,
}

impl Member {
    pub fn new(id: &str, account: Account) -> Member {
        assert_eq!(id.len(), 12);
        Member {
            account: Account { id: id.into(), ..account },
            name: format!("account-{id}"),
            state: Some("ACTIVE"),
            status: Some("ACTIVE"),
            units: Vec::new(),
            tags: Vec::new(),
            role: Some("iam-key-exporter".into()),
            external_id: None,
            listed: true,
        }
    }

    #[must_use]
    pub fn name(self, name: &str) -> Member {
        Member { name: name.into(), ..self }
    }

    #[must_use]
    pub fn role(self, role: Option<&str>) -> Member {
        Member { role: role.map(str::to_owned), ..self }
    }

    #[must_use]
    pub fn external_id(self, id: &str) -> Member {
        Member { external_id: Some(id.into()), ..self }
    }

    /// `State`, without `Status`.
    #[must_use]
    pub fn state(self, state: &'static str) -> Member {
        Member { state: Some(state), status: None, ..self }
    }

    #[must_use]
    pub fn units(self, units: &[&str]) -> Member {
        Member { units: units.iter().map(|u| (*u).to_owned()).collect(), ..self }
    }

    #[must_use]
    pub fn tag(mut self, key: &str, value: &str) -> Member {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// An account that has a role, but is not in the organisation.
    #[must_use]
    pub fn not_listed(self) -> Member {
        Member { listed: false, ..self }
    }
}

pub const ROOT: &str = "r-root";

impl Organization {
    /// With the own account as a member.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Organization {
        Organization {
            members: members.into_iter().collect(),
            own: None,
            management: None,
            delegated: Vec::new(),
            empty_units: Vec::new(),
            pages: Pages::Of(20),
            paths: true,
            hidden_from_tree: Vec::new(),
            session: SignedDuration::from_hours(1),
        }
    }

    /// `n` members with two users each, who have one key. The IDs are 100000000000 and following.
    pub fn of_size(n: usize) -> Organization {
        Organization::new((0..n).map(|i| Member::new(&format!("1{i:011}"), Account::of_size(2))))
    }

    #[must_use]
    pub fn pages(self, pages: Pages) -> Organization {
        Organization { pages, ..self }
    }

    #[must_use]
    pub fn without_paths(self) -> Organization {
        Organization { paths: false, ..self }
    }

    pub fn member(&mut self, id: &str) -> &mut Member {
        self.members.iter_mut().find(|m| m.account.id == id).unwrap_or_else(|| panic!("no account {id}"))
    }

    pub fn remove(&mut self, id: &str) {
        self.members.retain(|m| m.account.id != id);
    }

    /// The answer to AssumeRole, with the access key ID that it hands out.
    pub(super) fn assume(&self, own: &Account, call: &Call, serial: usize) -> Result<(String, Session), Fault> {
        let arn = call.parameters.get("RoleArn").map(String::as_str).unwrap_or_default();
        let session = call.parameters.get("RoleSessionName").map(String::as_str).unwrap_or_default();
        let external_id = call.parameters.get("ExternalId");
        let denied = || Fault::ACCESS_DENIED;
        let own_role = Member::new(&own.id, own.clone());
        let member = self.members.iter().chain([self.own.as_ref().unwrap_or(&own_role)]).find(|m| {
            let role = m.role.as_deref();
            role.is_some_and(|r| arn == format!("arn:{}:iam::{}:role/{r}", m.account.partition, m.account.id))
        });
        let member = member.ok_or_else(denied)?;
        if member.external_id.is_some() && member.external_id.as_ref() != external_id {
            return Err(denied());
        }
        let seconds = call.parameters.get("DurationSeconds").and_then(|s| s.parse().ok()).unwrap_or(3600);
        let until = super::now() + self.session.min(SignedDuration::from_secs(seconds));
        let (partition, id) = (&member.account.partition, &member.account.id);
        let name = arn.rsplit('/').next().unwrap_or_default();
        let key_id = format!("ASIA{id}{serial:04}");
        let answer = format!(
            "<AssumedRoleUser><Arn>arn:{partition}:sts::{id}:assumed-role/{name}/{session}</Arn>\
             <AssumedRoleId>AROAFAKEFAKEFAKEFAKE:{session}</AssumedRoleId></AssumedRoleUser>\
             <Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>a-secret-that-is-none</SecretAccessKey>\
             <SessionToken>IQoJb3JpZ2luX2VjFAKE{serial}</SessionToken><Expiration>{}</Expiration></Credentials>\n",
            until.strftime("%Y-%m-%dT%H:%M:%SZ")
        );
        Ok((answer, Session { key_id, account: id.clone(), until }))
    }

    /// All accounts that are listed, the own one first.
    fn listed(&self, own: &Account) -> Vec<Member> {
        let own = self.own.clone().unwrap_or_else(|| Member::new(&own.id, own.clone()).name("management"));
        std::iter::once(own).chain(self.members.iter().cloned()).filter(|m| m.listed).collect()
    }

    /// The answer of Organizations.
    pub(super) fn answer(&self, own: &Account, call: &Call) -> Result<Value, Fault> {
        if call.account != own.id && !self.delegated.contains(&call.account) {
            return Err(Fault::Error {
                status: 400,
                code: "AccessDeniedException",
                message: "You don't have permissions to access this resource.",
            });
        }
        let parameter = |name: &str| call.parameters.get(name).map(String::as_str).unwrap_or_default();
        let listed = self.listed(own);
        let parents = |units: &[String]| units.last().map_or(ROOT.to_owned(), String::clone);
        match call.operation.as_str() {
            "DescribeOrganization" => Ok(json!({"Organization": {
                "Id": "o-fakefakefa", "FeatureSet": "ALL",
                "MasterAccountId": self.management.as_ref().unwrap_or(&own.id),
                "MasterAccountArn": format!("arn:{}:organizations::{}:account/o-fakefakefa/{}", own.partition, own.id, own.id),
                "MasterAccountEmail": "root@example.com",
            }})),
            "ListAccounts" => Ok(self.page(call, "Accounts", listed.iter().map(|m| self.account(m)).collect())),
            "ListRoots" => Ok(self.page(call, "Roots", vec![json!({"Id": ROOT, "Name": "Root"})])),
            "ListOrganizationalUnitsForParent" => {
                let mut units = BTreeSet::new();
                for path in listed.iter().map(|m| &m.units).chain(&self.empty_units) {
                    let path: Vec<&str> = std::iter::once(ROOT).chain(path.iter().map(String::as_str)).collect();
                    units.extend(path.windows(2).filter(|w| w[0] == parameter("ParentId")).map(|w| w[1].to_owned()));
                }
                let units = units.into_iter().map(|id| json!({"Id": id, "Name": id})).collect();
                Ok(self.page(call, "OrganizationalUnits", units))
            }
            "ListAccountsForParent" => {
                let hidden = |m: &&Member| self.hidden_from_tree.contains(&m.account.id);
                let members = listed.iter().filter(|m| parents(&m.units) == parameter("ParentId") && !hidden(m));
                Ok(self.page(call, "Accounts", members.map(|m| self.account(m)).collect()))
            }
            "ListParents" => {
                let child = parameter("ChildId");
                let parent = match listed.iter().find(|m| m.account.id == child) {
                    Some(member) => parents(&member.units),
                    None => listed
                        .iter()
                        .map(|m| &m.units)
                        .chain(&self.empty_units)
                        .find_map(|units| units.iter().position(|u| u == child).map(|at| parents(&units[..at])))
                        .ok_or(Fault::Error {
                            status: 400,
                            code: "ChildNotFoundException",
                            message: "No such child",
                        })?,
                };
                let kind = if parent == ROOT { "ROOT" } else { "ORGANIZATIONAL_UNIT" };
                Ok(self.page(call, "Parents", vec![json!({"Id": parent, "Type": kind})]))
            }
            "ListTagsForResource" => {
                let member = listed.iter().find(|m| m.account.id == parameter("ResourceId"));
                let member =
                    member.ok_or(Fault::Error { status: 400, code: "TargetNotFoundException", message: "" })?;
                let tags = member.tags.iter().map(|(k, v)| json!({"Key": k, "Value": v})).collect();
                Ok(self.page(call, "Tags", tags))
            }
            _ => Err(Fault::Error { status: 400, code: "InvalidInputException", message: "No such action" }),
        }
    }

    fn account(&self, member: &Member) -> Value {
        let id = &member.account.id;
        let mut account = json!({
            "Id": id, "Name": member.name, "Email": format!("{id}@example.com"), "JoinedMethod": "CREATED",
            "Arn": format!("arn:{}:organizations::123456789012:account/o-fakefakefa/{id}", member.account.partition),
            "JoinedTimestamp": 1_700_000_000.5,
        });
        if let Some(state) = member.state {
            account["State"] = state.into();
        }
        if let Some(status) = member.status {
            account["Status"] = status.into();
        }
        if self.paths {
            let path: String = member.units.iter().map(|unit| format!("{unit}/")).collect();
            account["Paths"] = json!([format!("o-fakefakefa/{ROOT}/{path}{id}/")]);
        }
        account
    }

    fn page(&self, call: &Call, list: &str, members: Vec<Value>) -> Value {
        let token = call.parameters.get("NextToken").map(String::as_str);
        let turn: usize = token.and_then(|t| t.rsplit('-').next()?.parse().ok()).unwrap_or(0);
        let most = call.parameters.get("MaxResults").and_then(|m| m.parse().ok()).unwrap_or(20).min(20);
        let cut = |from: usize, size: usize| {
            let to = (from + size).min(members.len());
            (members.get(from..to).unwrap_or_default().to_vec(), (to < members.len()).then_some(to))
        };
        let (members, next) = match self.pages {
            Pages::Of(size) => cut(turn, size.min(most)),
            Pages::WithEmptyOnes if turn.is_multiple_of(2) => (Vec::new(), Some(turn + 1)),
            Pages::WithEmptyOnes => {
                let (members, more) = cut(turn / 2, 1);
                (members, more.map(|_| turn + 1))
            }
            Pages::RepeatedMarker => (if turn == 0 { members.clone() } else { Vec::new() }, Some(1)),
            _ => (if turn == 0 { members.clone() } else { Vec::new() }, Some(turn + 1)),
        };
        let mut page = json!({ list: members });
        if let Some(next) = next {
            page["NextToken"] = format!("token-{next}").into();
        }
        page
    }
}

/// What AssumeRole handed out.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) key_id: String,
    pub(super) account: String,
    pub(super) until: Timestamp,
}
