//! ARNs: what is accepted is written back unchanged, and nothing is accepted that is not of the documented form.

use iam_key_exporter::model::{Arn, Principal, RoleArn};

/// The property of this text.
pub fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    user_or_root(text);
    role(text);
}

fn user_or_root(text: &str) {
    let parsed = Arn::parse(text);
    assert_eq!(parsed.is_some(), is_user_or_root(text), "{text:?}");
    let Some(arn) = parsed else { return };
    let prefix = format!("arn:{}:iam::{}:", arn.partition, arn.account);
    match arn.principal {
        Principal::Root => assert_eq!(text, format!("{prefix}root")),
        Principal::User(resource) => {
            assert_eq!(text, format!("{prefix}user{resource}"));
            let (path, name) = resource.split_at(resource.rfind('/').expect("a resource has a slash") + 1);
            assert_eq!(arn.path_of(name), Some(path), "{text:?}");
            // Of a name and a longer one that ends in it, at most one is the user's.
            assert_eq!(arn.path_of(&format!("x{name}")), None, "{text:?}");
            for (begin, _) in name.char_indices().skip(1) {
                assert_eq!(arn.path_of(&name[begin..]), None, "{text:?}");
            }
        }
    }
    assert!(text.parse::<RoleArn>().is_err(), "{text:?} is of a user and of a role");
}

/// By the documentation, field by field from the left.
fn is_user_or_root(text: &str) -> bool {
    let (Some((partition, account, resource)), false) = (fields(text), text.is_empty()) else { return false };
    is_partition(partition) && is_account(account) && (resource == "root" || resource.starts_with("user/"))
}

/// Partition, account and resource of an ARN of IAM.
fn fields(text: &str) -> Option<(&str, &str, &str)> {
    let (partition, rest) = text.strip_prefix("arn:")?.split_once(':')?;
    let (account, resource) = rest.strip_prefix("iam::")?.split_once(':')?;
    Some((partition, account, resource))
}

fn is_partition(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-'))
}

fn is_account(text: &str) -> bool {
    text.chars().count() == 12 && text.chars().all(|c| c.is_ascii_digit())
}

fn role(text: &str) {
    let Ok(arn) = text.parse::<RoleArn>() else { return };
    assert_eq!(arn.to_string(), text);
    let (partition, account, resource) = fields(text).expect("a role has an ARN");
    assert!(is_partition(partition) && is_account(account), "{text:?}");
    let name = resource.strip_prefix("role/").expect("a role's resource").rsplit('/').next().unwrap_or_default();
    assert!((1..=64).contains(&name.len()), "{text:?}");
    assert!(text.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{text:?}");
}
