//! Answers of IAM, STS and Organizations, in the formats of the query protocol and of JSON 1.1.

use super::organization::{Key, Organization, User, letters};
use std::fmt::Write as _;

const IAM: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const METADATA: &str =
    "<ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ResponseMetadata>";
/// The columns of a credential report.
const COLUMNS: &str = "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,\
    password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,\
    access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,\
    access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,\
    cert_1_last_rotated,cert_2_active,cert_2_last_rotated";

pub fn answer(operation: &str, result: &str) -> String {
    let namespace = if matches!(operation, "AssumeRole" | "GetCallerIdentity") { STS } else { IAM };
    let (begin, end) = around(operation, namespace);
    format!("{begin}{result}{end}")
}

fn around(operation: &str, namespace: &str) -> (String, String) {
    (
        format!("<{operation}Response xmlns=\"{namespace}\">\n<{operation}Result>\n"),
        format!("</{operation}Result>\n{METADATA}\n</{operation}Response>\n"),
    )
}

pub fn error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"{IAM}\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>\
         </Error><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>"
    )
}

pub fn caller_identity(id: &str) -> String {
    format!(
        "<Arn>arn:aws:sts::{id}:assumed-role/iam-key-exporter/bench</Arn><UserId>AROA1:bench</UserId>\
         <Account>{id}</Account>\n"
    )
}

/// Credentials whose key ID names the account, by which the requests are routed.
pub fn assumed_role(account: usize, id: &str, role: &str, expiration: i64) -> String {
    let key = letters(account as u64);
    format!(
        "<Credentials><AccessKeyId>ASIA{key}</AccessKeyId><SecretAccessKey>none</SecretAccessKey>\
         <SessionToken>token</SessionToken><Expiration>{}</Expiration></Credentials>\
         <AssumedRoleUser><Arn>arn:aws:sts::{id}:assumed-role/{role}/bench</Arn>\
         <AssumedRoleId>AROA1:bench</AssumedRoleId></AssumedRoleUser>\n",
        date(expiration, "Z")
    )
}

pub fn account_summary(users: usize) -> String {
    let entries =
        [("Users", users), ("UsersQuota", 5000), ("AccessKeysPerUserQuota", 2), ("AccountAccessKeysPresent", 0)];
    let entries = entries.map(|(key, value)| format!("<entry><key>{key}</key><value>{value}</value></entry>\n"));
    format!("<SummaryMap>\n{}</SummaryMap>\n", entries.concat())
}

/// A list, with the marker of the next page if there is one.
pub fn page(list: &str, members: &str, next: Option<usize>) -> String {
    let more = match next {
        Some(marker) => format!("<IsTruncated>true</IsTruncated><Marker>{marker}</Marker>\n"),
        None => "<IsTruncated>false</IsTruncated>\n".into(),
    };
    format!("<{list}>\n{members}</{list}>\n{more}")
}

fn arn(id: &str, user: &User) -> String {
    format!("arn:aws:iam::{id}:user{}{}", user.path, user.name)
}

pub fn user(id: &str, user: &User) -> String {
    format!(
        "<member><Path>{}</Path><UserName>{}</UserName><UserId>AIDA{}</UserId><Arn>{}</Arn>\
         <CreateDate>{}</CreateDate></member>\n",
        user.path,
        user.name,
        letters(user.index as u64),
        arn(id, user),
        date(user.created, "Z")
    )
}

pub fn user_detail(id: &str, user: &User) -> String {
    let team = user.index % 23;
    format!(
        "<member><Path>{}</Path><UserName>{}</UserName><UserId>AIDA{}</UserId><Arn>{}</Arn>\
         <CreateDate>{}</CreateDate><GroupList><member>team-{team}</member></GroupList><Tags>\
         <member><Key>owner</Key><Value>team-{team}@example.com</Value></member>\
         <member><Key>environment</Key><Value>production</Value></member></Tags></member>\n",
        user.path,
        user.name,
        letters(user.index as u64),
        arn(id, user),
        date(user.created, "Z")
    )
}

pub fn access_key(user: &User, key: &Key) -> String {
    let status = if key.active { "Active" } else { "Inactive" };
    format!(
        "<member><UserName>{}</UserName><AccessKeyId>{}</AccessKeyId><Status>{status}</Status>\
         <CreateDate>{}</CreateDate></member>\n",
        user.name,
        key.id,
        date(key.created, "Z")
    )
}

pub fn last_used(user: &User, key: &Key) -> String {
    format!(
        "<UserName>{}</UserName><AccessKeyLastUsed><LastUsedDate>{}</LastUsedDate><ServiceName>s3</ServiceName>\
         <Region>us-east-1</Region></AccessKeyLastUsed>\n",
        user.name,
        date(key.last_used, "Z")
    )
}

/// An answer of GetCredentialReport as far as it can be rendered beforehand; [`report_end`] has the rest.
pub fn report(organization: &Organization, account: usize, generation: usize) -> String {
    let (begin, _) = around("GetCredentialReport", IAM);
    let csv = report_csv(organization, account, generation);
    format!("{begin}<Content>{}</Content><ReportFormat>text/csv</ReportFormat>", base64(csv.as_bytes()))
}

/// A credential report in the format of AWS.
pub fn report_csv(organization: &Organization, account: usize, generation: usize) -> String {
    let id = Organization::account_id(account);
    let mut csv = format!(
        "{COLUMNS}\n<root_account>,arn:aws:iam::{id}:root,2020-01-01T00:00:00+00:00,not_supported,no_information,\
         not_supported,not_supported,true,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A"
    );
    for index in 0..organization.users {
        let user = organization.user(account, index, generation);
        let cells = |key: Option<&Key>| match key {
            Some(key) => {
                let (active, created, used) = (key.active, date(key.created, "+00:00"), date(key.last_used, "+00:00"));
                format!("{active},{created},{used},us-east-1,s3")
            }
            None => "false,N/A,N/A,N/A,N/A".to_owned(),
        };
        let (first, second) = (cells(user.keys.first()), cells(user.keys.get(1)));
        let (name, arn, created) = (&user.name, arn(&id, &user), date(user.created, "+00:00"));
        let _ = write!(csv, "\n{name},{arn},{created},false,N/A,N/A,N/A,false,{first},{second},false,N/A,false,N/A");
    }
    csv
}

pub fn report_end(generated_at: i64) -> String {
    let (_, end) = around("GetCredentialReport", IAM);
    format!("<GeneratedTime>{}</GeneratedTime>\n{end}", date(generated_at, "Z"))
}

pub fn organization() -> String {
    let id = Organization::account_id(0);
    format!(
        r#"{{"Organization":{{"Id":"o-benchbench","Arn":"arn:aws:organizations::{id}:organization/o-benchbench","FeatureSet":"ALL","MasterAccountArn":"arn:aws:organizations::{id}:account/o-benchbench/{id}","MasterAccountId":"{id}","MasterAccountEmail":"a@example.com"}}}}"#
    )
}

/// A page of ListAccounts: at most 20 accounts.
pub fn accounts(organization: &Organization, from: usize) -> String {
    let to = (from + 20).min(organization.accounts);
    let management = Organization::account_id(0);
    let accounts: Vec<String> = (from..to)
        .map(|account| {
            let (id, unit) = (Organization::account_id(account), account % 10);
            format!(
                r#"{{"Id":"{id}","Arn":"arn:aws:organizations::{management}:account/o-benchbench/{id}","Email":"{account}@example.com","Name":"account-{account}","Status":"ACTIVE","State":"ACTIVE","JoinedMethod":"CREATED","JoinedTimestamp":1600000000,"Paths":["o-benchbench/r-root/ou-root-unit000{unit}/{id}/"]}}"#
            )
        })
        .collect();
    let next = if to < organization.accounts { format!(r#","NextToken":"{to}""#) } else { String::new() };
    format!(r#"{{"Accounts":[{}]{next}}}"#, accounts.join(","))
}

/// A time of AWS, in whole seconds. Written by hand: half a million users have millions of them.
pub fn date(seconds: i64, zone: &str) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's algorithm, with years that begin in March.
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}{zone}")
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
