//! From an inventory of any names and keys to the page and back: every name and label value survives, whatever characters
//! it has, and a page that was updated is the page that would have been made from nothing.

use super::now;
use super::text_format::{Labels, Samples, read};
use iam_key_exporter::exposition::segment::Segment;
use iam_key_exporter::exposition::{Options, Page, Parts, Users};
use iam_key_exporter::model::{
    AccessKey, AccessKeyId, Account, Collector, DetailsResult, DetailsScope, KeyStatus, KeysResult, LastUsed,
    ListedUser, Listing, Observation, Partition, RootKeys, Tag, Timestamp, UserDetails, UserName,
};
use iam_key_exporter::policy::{Exemption, Exemptions, Policy, Selector};
use iam_key_exporter::state::{AccountState, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Separates the users of the input; like [`FIELD`], it is in no UTF-8.
const USER: u8 = 0xff;
/// Separates the fields of a user: name, path, owner, a byte for each key.
const FIELD: u8 = 0xfe;
/// Separates the first inventory from the one that follows it.
const UPDATE: u8 = 0xfd;

/// The property of the inventories in this input.
pub fn holds(data: &[u8]) {
    pages(data);
}

/// The page of each inventory, after its property has been checked.
pub fn pages(data: &[u8]) -> Vec<String> {
    let mut pages = Vec::new();
    let inventories: Vec<Written> = data.split(|b| *b == UPDATE).take(3).map(Written::read).collect();
    let mut exporter = Exporter::new(&inventories[0]);
    for (number, written) in (0..).zip(&inventories) {
        let updated = exporter.update(written, number);
        written.compare(&read(&updated), &exporter.state.account.name);
        assert_eq!(exporter.anew().publish(), updated, "the updated page differs from one that was made from nothing");
        pages.push(updated);
    }
    pages
}

fn options() -> Options {
    Options {
        users: Users::All,
        user_info: true,
        tags: vec!["team".into()],
        owner_tags: vec!["owner".into()],
        access_key_id: true,
    }
}

/// An inventory as the input has it. Users whose name is one of an earlier user are left out.
struct Written {
    users: BTreeMap<String, WrittenUser>,
}

struct WrittenUser {
    name: String,
    path: String,
    owner: String,
    /// A byte for each key; `None` if they are not known.
    keys: Option<Vec<u8>>,
}

impl Written {
    fn read(data: &[u8]) -> Self {
        let mut users = BTreeMap::new();
        for user in data.split(|b| *b == USER) {
            let mut fields = user.splitn(4, |b| *b == FIELD);
            let mut text = || String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
            let (name, path, owner) = (text(), format!("/{}/", text()), text());
            let keys = fields.next().map(|keys| keys.iter().take(4).copied().collect());
            users.entry(name.to_ascii_lowercase()).or_insert(WrittenUser { name, path, owner, keys });
        }
        Written { users }
    }

    fn listing(&self, at: Timestamp) -> Listing {
        let user = |user: &WrittenUser| ListedUser {
            name: UserName::new(&user.name),
            path: user.path.as_str().into(),
            created: None,
            observed_at: at,
            keys: match &user.keys {
                None => KeysResult::Failed("not_in_file"),
                Some(keys) => KeysResult::complete((0_i64..).zip(keys).map(|(n, k)| key(&user.name, n, *k)).collect()),
            },
        };
        Listing::new(Collector::File, at, self.users.values().map(user).collect()).expect("every name once")
    }

    fn details(&self) -> DetailsResult {
        let tag = |key, value: &String| Tag::new(key, value).filter(|_| !value.is_empty());
        let user = |user: &WrittenUser| {
            let tags = [tag("owner", &user.owner), tag("team", &user.name)].into_iter().flatten().collect();
            (UserName::new(&user.name), Arc::new(UserDetails { tags, groups: Box::default() }))
        };
        DetailsResult::Complete { scope: DetailsScope::all_tags(false), users: self.users.values().map(user).collect() }
    }

    /// The series of users are these and no others.
    fn compare(&self, samples: &Samples, account_name: &str) {
        let mut expected = Samples::new();
        for user in self.users.values() {
            let of_user = |more: &[(&str, &str)]| -> Labels {
                let own = [("account_id", ACCOUNT), ("user_name", &user.name)];
                own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
            };
            let mut add = |name: &str, labels, value| {
                expected.insert((name.to_owned(), labels), value);
            };
            let mut info = vec![("path", user.path.as_str())];
            info.extend(Some(("owner", user.owner.as_str())).filter(|(_, owner)| !owner.trim().is_empty()));
            info.extend(Some(("tag_team", user.name.as_str())).filter(|(_, team)| !team.is_empty()));
            add("aws_iam_user_info", of_user(&info), 1.0);
            let Some(keys) = &user.keys else { continue };
            let active = keys.iter().filter(|key| is_active(**key)).count();
            add("aws_iam_user_active_access_keys", of_user(&[]), active as f64);
            for (number, written) in (0_i64..).zip(keys) {
                let labels = of_user(&[("access_key_id", &id(&user.name, number)), ("key", &(number + 1).to_string())]);
                add("aws_iam_access_key_active", labels, if is_active(*written) { 1.0 } else { 0.0 });
            }
        }
        let families =
            ["aws_iam_user_info", "aws_iam_user_active_access_keys", "aws_iam_access_key_active"].map(String::from);
        let found: Samples =
            samples.iter().filter(|((name, _), _)| families.contains(name)).map(|(k, v)| (k.clone(), *v)).collect();
        assert_eq!(found, expected);
        let has = |family: &str, label: &str, value: &str| {
            samples.keys().any(|(name, labels)| name == family && labels.get(label).is_some_and(|v| v == value))
        };
        assert!(has("aws_iam_account_info", "account_name", account_name), "the name of the account");
        assert!(has("aws_iam_exemption_expires_timestamp_seconds", "path", account_name), "the path of the exemption");
    }
}

const ACCOUNT: &str = "123456789012";

fn is_active(key: u8) -> bool {
    !key.is_multiple_of(2)
}

/// In the order of creation.
fn id(user: &str, number: i64) -> String {
    format!("AKIA{number}{user}")
}

fn key(user: &str, number: i64, written: u8) -> AccessKey {
    let status = if is_active(written) { KeyStatus::Active } else { KeyStatus::Inactive };
    let last_used = match written % 3 {
        0 => LastUsed::Unknown,
        1 => LastUsed::Never,
        _ => LastUsed::At(now()),
    };
    // The numbers of keys follow their dates.
    let days = 1000 - 100 * number - i64::from(written / 8);
    let created = Timestamp::from_second(now().as_second() - days * 86_400).expect("a date of this century");
    AccessKey::new(Some(AccessKeyId::new(&id(user, number))), status, Some(created), last_used)
}

/// What becomes the page.
struct Exporter {
    parts: Parts,
    policy: Arc<Policy>,
    state: AccountState,
}

impl Exporter {
    /// The owner of the first user is the name of the account, and the path of an exemption.
    fn new(first: &Written) -> Self {
        let name = first.users.values().next().map(|user| user.owner.clone()).unwrap_or_default();
        let account = Account {
            id: ACCOUNT.parse().expect("twelve digits"),
            name: name.clone(),
            partition: Partition::default(),
        };
        let selector = Selector { path: Some(name.clone()), ..Selector::default() };
        let exemption = Exemption::new(selector, None, None, name, Timestamp::MAX);
        let policy = Arc::new(Policy { exemptions: Exemptions::new(vec![exemption]), ..Policy::default() });
        Exporter { parts: Parts::new(options()), state: AccountState::new(account, Arc::clone(&policy)), policy }
    }

    /// The same state, of which nothing is encoded yet.
    fn anew(&self) -> Self {
        Exporter { parts: Parts::new(options()), policy: Arc::clone(&self.policy), state: self.state.clone() }
    }

    fn update(&mut self, written: &Written, number: i64) -> String {
        let at = Timestamp::from_second(now().as_second() + number).expect("a date of this century");
        self.state.apply(Observation::Listing(written.listing(at)));
        self.state.apply(Observation::Details { at, details: written.details() });
        self.state.apply(Observation::Root { at, keys: RootKeys::Active(u32::from(number == 1)) });
        self.state.evaluate(&self.policy, at);
        self.publish()
    }

    fn publish(&self) -> String {
        let snapshot = Snapshot::new(Arc::clone(&self.policy)).with(Arc::new(self.state.clone()));
        self.parts.publish(self.parts.encode(&self.state), &snapshot, now());
        text(&self.parts.page())
    }
}

fn text(page: &Page) -> String {
    String::from_utf8(page.plain(&Segment::default(), Vec::new()).into_text()).expect("the page is UTF-8")
}
