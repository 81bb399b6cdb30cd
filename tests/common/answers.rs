//! AWS's responses as XML, in the format of the query protocol of IAM and STS.

use super::account::{Account, Key, User, users_created};
use jiff::Timestamp;

pub const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

const IAM: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const METADATA: &str =
    "<ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ResponseMetadata>";

pub fn answer(operation: &str, result: &str) -> String {
    let namespace = if matches!(operation, "GetCallerIdentity" | "AssumeRole") { STS } else { IAM };
    format!(
        "<{operation}Response xmlns=\"{namespace}\">\n<{operation}Result>\n{result}</{operation}Result>\n{METADATA}\n\
         </{operation}Response>\n"
    )
}

pub fn error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"{IAM}\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>\
         </Error><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>"
    )
}

/// An error of the JSON protocol.
pub fn json_error(code: &str, message: &str) -> String {
    format!(r#"{{"__type":"{code}","message":"{message}"}}"#)
}

pub fn caller_identity(account: &Account) -> String {
    let (partition, id) = (&account.partition, &account.id);
    format!(
        "<Arn>arn:{partition}:sts::{id}:assumed-role/exporter/i-1</Arn><UserId>AROA1:i-1</UserId>\
         <Account>{id}</Account>\n"
    )
}

/// ListAccountAliases: a list with at most one member.
pub fn aliases(account: &Account) -> String {
    let members: String = account.alias.iter().map(|alias| format!("<member>{alias}</member>")).collect();
    page("AccountAliases", &members, None)
}

pub fn account_summary(account: &Account) -> String {
    let entry = |name: &str, value: usize| format!("<entry><key>{name}</key><value>{value}</value></entry>\n");
    let entries = [
        entry("Users", account.users.len()),
        entry("UsersQuota", 5000),
        entry("AccessKeysPerUserQuota", 2),
        entry("AccountAccessKeysPresent", account.root_keys as usize),
    ];
    format!("<SummaryMap>\n{}</SummaryMap>\n", entries.concat())
}

/// A list, with the marker of the next page if there is one.
pub fn page(list: &str, members: &str, next: Option<&str>) -> String {
    let more = match next {
        Some(marker) => format!("<IsTruncated>true</IsTruncated><Marker>{marker}</Marker>\n"),
        None => "<IsTruncated>false</IsTruncated>\n".into(),
    };
    format!("<{list}>\n{members}</{list}>\n{more}")
}

pub fn user(account: &Account, user: &User) -> String {
    let (created, arn) = (date(users_created()), account.arn(user));
    let User { name, path, .. } = user;
    format!(
        "<member><Path>{path}</Path><UserName>{name}</UserName><UserId>AIDA1</UserId><Arn>{arn}</Arn>\
         <CreateDate>{created}</CreateDate></member>\n"
    )
}

pub fn user_detail(account: &Account, user: &User) -> String {
    let tags: String =
        user.tags.iter().map(|(k, v)| format!("<member><Key>{k}</Key><Value>{v}</Value></member>")).collect();
    let groups: String = user.groups.iter().map(|group| format!("<member>{group}</member>")).collect();
    let (arn, name, path) = (account.arn(user), &user.name, &user.path);
    format!(
        "<member><Path>{path}</Path><UserName>{name}</UserName><UserId>AIDA1</UserId><Arn>{arn}</Arn>\
         <GroupList>{groups}</GroupList><Tags>{tags}</Tags></member>\n"
    )
}

pub fn access_key(user: &User, key: &Key) -> String {
    let status = if key.active { "Active" } else { "Inactive" };
    let (name, id, created) = (&user.name, &key.id, date(key.created));
    format!(
        "<member><UserName>{name}</UserName><AccessKeyId>{id}</AccessKeyId><Status>{status}</Status>\
         <CreateDate>{created}</CreateDate></member>\n"
    )
}

pub fn last_used(user: &User, key: &Key) -> String {
    let used = match key.last_used {
        Some(at) => {
            format!("<LastUsedDate>{}</LastUsedDate><ServiceName>s3</ServiceName><Region>us-east-1</Region>", date(at))
        }
        None => "<ServiceName>N/A</ServiceName><Region>N/A</Region>".into(),
    };
    format!("<UserName>{}</UserName><AccessKeyLastUsed>{used}</AccessKeyLastUsed>\n", user.name)
}

pub fn report(content: &[u8], generated_at: Timestamp) -> String {
    format!(
        "<Content>{}</Content><ReportFormat>text/csv</ReportFormat><GeneratedTime>{}</GeneratedTime>\n",
        base64(content),
        date(generated_at)
    )
}

fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = u32::from_be_bytes([0, chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)]);
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[test]
fn base64_is_padded() {
    for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}
