//! IAM roles that give access to other accounts: ARNs, external IDs, session names (STS API Reference, AssumeRole).

use super::{AccountId, Partition};
use compact_str::CompactString;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The longest name of a role, and of a session.
const LONGEST_NAME: usize = 64;
/// The longest path of a role, with its slashes.
const LONGEST_PATH: usize = 512;

/// A text is not what it has to be. The text itself is only in errors about texts that are not confidential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRole {
    /// Not the ARN of an IAM role.
    #[error(
        "{0:?} is not the ARN of an IAM role: arn:PARTITION:iam::ACCOUNT:role/NAME, the account with twelve digits"
    )]
    Arn(String),
    /// Not the name of an IAM role.
    #[error(
        "{0:?} is not the name of an IAM role: 1 to 64 characters of A-Za-z0-9_+=,.@-, after a path if the role has one"
    )]
    Name(String),
    /// Not an external ID.
    #[error("an external ID has 2 to 1224 characters of A-Za-z0-9_+=,.@:/-")]
    ExternalId,
    /// Not the name of a session.
    #[error("{0:?} is not the name of a session: 2 to 64 characters of A-Za-z0-9_+=,.@-")]
    SessionName(String),
}

fn is_name_character(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b)
}

/// The name of an IAM role after its path, without a slash at the beginning: `iam-key-exporter`,
/// `security/iam-key-exporter`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(CompactString);

impl RoleName {
    /// Path and name, as in the ARN after `role/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoleName {
    type Err = InvalidRole;

    /// The slash at the beginning of a path may be left out.
    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let resource = text.strip_prefix('/').unwrap_or(text);
        let (path, name) = resource.rsplit_once('/').map_or(("", resource), |(path, name)| (path, name));
        // A path is at least "/", and has a slash at each end.
        let path_is_valid = path.len() <= LONGEST_PATH - 2 && path.bytes().all(|b| (0x21..=0x7e).contains(&b));
        let name_is_valid = (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_name_character);
        if path_is_valid && name_is_valid && (path.is_empty() || !path.starts_with('/')) {
            Ok(RoleName(resource.into()))
        } else {
            Err(InvalidRole::Name(text.to_owned()))
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The ARN of an IAM role: `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleArn {
    /// The second field of the ARN.
    pub partition: Partition,
    /// The account that has the role.
    pub account: AccountId,
    /// Path and name.
    pub name: RoleName,
}

impl FromStr for RoleArn {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let parse = || {
            let fields: Vec<&str> = text.splitn(6, ':').collect();
            let ["arn", partition, "iam", "", account, resource] = fields[..] else { return None };
            let name = resource.strip_prefix("role/").filter(|rest| !rest.starts_with('/'))?;
            Some(RoleArn {
                partition: Partition::parse(partition)?,
                account: account.parse().ok()?,
                name: name.parse().ok()?,
            })
        };
        parse().ok_or_else(|| InvalidRole::Arn(text.to_owned()))
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:{}:iam::{}:role/{}", self.partition, self.account, self.name)
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An external ID, which a role's trust policy can require. It is not a secret to AWS, but to other customers of a role's
/// user: it is never displayed, and its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct ExternalId(SecretString);

impl ExternalId {
    /// The text, for the request to STS.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for ExternalId {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for ExternalId {}

impl Hash for ExternalId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl FromStr for ExternalId {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let valid = |b: u8| is_name_character(b) || b == b':' || b == b'/';
        if (2..=1224).contains(&text.len()) && text.bytes().all(valid) {
            Ok(ExternalId(text.into()))
        } else {
            Err(InvalidRole::ExternalId)
        }
    }
}

/// The same text as in redacted errors.
const HIDDEN: &str = "[redacted]";

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Debug for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The name of a session of a role, which CloudTrail records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionName(CompactString);

impl SessionName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SessionName {
    fn default() -> Self {
        SessionName(CompactString::const_new("iam-key-exporter"))
    }
}

impl FromStr for SessionName {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        if (2..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_name_character) {
            Ok(SessionName(text.into()))
        } else {
            Err(InvalidRole::SessionName(text.to_owned()))
        }
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A role to assume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Role {
    /// The role.
    pub arn: RoleArn,
    /// What the role's trust policy may require.
    pub external_id: Option<ExternalId>,
    /// The name of the sessions.
    pub session_name: SessionName,
    /// The role whose session assumes this one; `None` for the credentials of the process.
    pub base: Option<Box<Role>>,
}

impl Role {
    /// A role that is assumed without an external ID, in sessions of the default name.
    pub fn new(arn: RoleArn) -> Self {
        Role { arn, external_id: None, session_name: SessionName::default(), base: None }
    }
}

/// How an account is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// With the credentials of the process.
    Own,
    /// With a role in the account.
    Role(Box<Role>),
}

/// Text in configuration and output.
macro_rules! text {
    ($($Type:ty),*) => {$(
        impl serde::Serialize for $Type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $Type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

text!(RoleName, RoleArn, ExternalId, SessionName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: &str = "[A-Za-z0-9_+=,.@-]{1,64}";

    proptest! {
        #[test]
        fn the_arn_of_a_role_is_read_and_written(
            partition in "aws|aws-cn|aws-us-gov|eusc",
            account in "[0-9]{12}",
            path in "([!-.0-9:-~]{1,20}/){0,3}",
            name in NAME,
        ) {
            let text = format!("arn:{partition}:iam::{account}:role/{path}{name}");
            let arn: RoleArn = text.parse().unwrap();
            prop_assert_eq!(arn.to_string(), text);
            prop_assert_eq!(arn.account.as_str(), account);
            prop_assert_eq!(arn.partition.as_str(), partition);
            prop_assert_eq!(arn.name.as_str(), format!("{path}{name}"));
            let same: RoleName = format!("/{path}{name}").parse().unwrap();
            prop_assert_eq!(same, arn.name);
        }

        #[test]
        fn any_text_is_taken_or_refused(text in ".{0,80}") {
            if let Ok(arn) = text.parse::<RoleArn>() {
                prop_assert_eq!(arn.to_string(), text.clone());
            }
            let _ = (text.parse::<RoleName>(), text.parse::<ExternalId>(), text.parse::<SessionName>());
        }

        #[test]
        fn an_external_id_is_never_shown(text in "[A-Za-z0-9_+=,.@:/-]{12,200}") {
            let id: ExternalId = text.parse().unwrap();
            prop_assert_eq!(id.expose(), &text);
            let role = Role {
                external_id: Some(id.clone()),
                ..Role::new("arn:aws:iam::123456789012:role/x".parse().unwrap())
            };
            let json = serde_json::to_string(&id).unwrap();
            for shown in [format!("{role:?}"), format!("{:?}", Access::Role(Box::new(role))), id.to_string(), json] {
                prop_assert!(!shown.contains(&text), "{}", shown);
            }
        }
    }

    #[test]
    fn what_is_not_the_arn_of_a_role_is_refused() {
        for text in [
            "",
            "iam-key-exporter",
            "arn:aws:iam::12345678901:role/x",
            "arn:aws:iam::1234567890123:role/x",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role//x",
            "arn:aws:iam::123456789012:role/a/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:sts::123456789012:assumed-role/x/y",
            "arn::iam::123456789012:role/x",
            " arn:aws:iam::123456789012:role/x",
        ] {
            let error = text.parse::<RoleArn>().unwrap_err();
            assert!(error.to_string().contains("is not the ARN of an IAM role"), "{error}");
        }
        let long = "x".repeat(65);
        assert!(format!("arn:aws:iam::123456789012:role/{long}").parse::<RoleArn>().is_err());
    }

    #[test]
    fn external_ids_and_session_names_have_limits() {
        let too_long = "x".repeat(1225);
        for bad in ["", "x", "a b", "é", "semi;colon", &too_long] {
            let error = bad.parse::<ExternalId>().unwrap_err().to_string();
            assert!(!error.contains(bad) || bad.len() < 2, "the text is not shown: {error}");
        }
        assert!("x".repeat(1224).parse::<ExternalId>().is_ok());
        for bad in ["", "x", "a b", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<SessionName>().is_err(), "{bad}");
        }
        assert_eq!("iam-key-exporter".parse(), Ok(SessionName::default()));
    }

    #[test]
    fn configuration_is_text() {
        let arn: RoleArn = serde_json::from_str("\"arn:aws:iam::123456789012:role/a/b\"").unwrap();
        assert_eq!(arn.name.as_str(), "a/b");
        let error = serde_json::from_str::<ExternalId>("\"not valid!\"").unwrap_err().to_string();
        assert!(error.contains("2 to 1224 characters") && !error.contains("not valid!"), "{error}");
    }
}
