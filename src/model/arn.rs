//! ARNs of IAM users and of root users: `arn:PARTITION:iam::ACCOUNT:user/PATH/NAME` and
//! `arn:PARTITION:iam::ACCOUNT:root` (IAM User Guide, "IAM identifiers").

use super::{AccountId, Partition, UserName};

/// The ARN of a root user or an IAM user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arn<'a> {
    /// The second field of the ARN.
    pub partition: Partition,
    /// The fifth field of the ARN.
    pub account: AccountId,
    /// The sixth field of the ARN.
    pub principal: Principal<'a>,
}

/// The principal that an ARN names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal<'a> {
    /// The root user of the account.
    Root,
    /// `PATH/NAME` with the leading slash. The parts cannot be separated without the user's name, which may
    /// hold any character of a path but the slash.
    User(&'a str),
}

impl<'a> Arn<'a> {
    /// `None` when the text is not the ARN of a root user or an IAM user.
    pub fn parse(text: &'a str) -> Option<Self> {
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, resource] = fields[..] else { return None };
        let partition = Partition::parse(partition)?;
        let account = account.parse().ok()?;
        let principal = match resource {
            "root" => Principal::Root,
            resource => Principal::User(resource.strip_prefix("user").filter(|rest| rest.starts_with('/'))?),
        };
        Some(Arn { partition, account, principal })
    }

    /// The path of the user of this name, with its slashes; `None` when the ARN is not that user's.
    pub fn path_of(&self, name: &str) -> Option<&'a str> {
        match self.principal {
            Principal::User(resource) => resource.strip_suffix(name).filter(|path| path.ends_with('/')),
            Principal::Root => None,
        }
    }
}

/// The ARN of an IAM user.
pub(super) fn user_arn(partition: &Partition, account: AccountId, path: &str, name: &UserName) -> String {
    format!("arn:{partition}:iam::{account}:user{path}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_root_are_recognised() {
        let arn = Arn::parse("arn:aws-cn:iam::123456789012:user/a/b/eve").unwrap();
        assert_eq!((arn.partition.as_str(), arn.account.as_str()), ("aws-cn", "123456789012"));
        assert_eq!(arn.path_of("eve"), Some("/a/b/"));
        assert_eq!(arn.path_of("ve"), None);
        assert_eq!(Arn::parse("arn:aws:iam::123456789012:user/eve").unwrap().path_of("eve"), Some("/"));
        assert_eq!(Arn::parse("arn:aws:iam::123456789012:root").unwrap().principal, Principal::Root);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "arn",
            "arn:aws:iam::123456789012",
            "arn:aws:iam::12345678901:root",
            "arn::iam::123456789012:root",
            "arn:aws:sts::123456789012:root",
            "arn:aws:iam:us-east-1:123456789012:root",
            "arn:aws:iam::123456789012:role/eve",
            "arn:aws:iam::123456789012:userx/eve",
            "xarn:aws:iam::123456789012:root",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
