//! Refuses truncated answers. The SDK's XML reader takes the end of the input for the end of every open element, and an
//! element that is missing for an empty one: a list that was cut off, or left out, would pass for a shorter list. Its JSON
//! reader takes a list that is missing for an empty one, too.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

#[derive(Debug, PartialEq, thiserror::Error)]
enum Truncated {
    #[error("the answer is cut off: its elements are not closed in their order")]
    Elements,
    #[error("the answer has no element {0}")]
    List(&'static str),
    #[error("the answer is not a complete JSON object")]
    Json,
}

/// The element that an answer to this operation always has, also when there is nothing in it.
fn required_element(operation: &str) -> Option<&'static str> {
    match operation {
        "ListUsers" => Some("Users"),
        "ListAccessKeys" => Some("AccessKeyMetadata"),
        "GetAccountAuthorizationDetails" => Some("UserDetailList"),
        "GetAccountSummary" => Some("SummaryMap"),
        "ListAccountAliases" => Some("AccountAliases"),
        "DescribeOrganization" => Some("Organization"),
        "ListAccounts" | "ListAccountsForParent" => Some("Accounts"),
        "ListRoots" => Some("Roots"),
        "ListOrganizationalUnitsForParent" => Some("OrganizationalUnits"),
        "ListParents" => Some("Parents"),
        "ListTagsForResource" => Some("Tags"),
        _ => None,
    }
}

/// Checks an answer that the SDK has parsed.
fn check_answer(
    context: &AfterDeserializationInterceptorContextRef<'_>,
    cfg: &ConfigBag,
    check: impl FnOnce(&[u8], Option<&'static str>) -> Result<(), Truncated>,
) -> Result<(), BoxError> {
    let response = context.response();
    // An answer that the SDK could not parse has an error with more details.
    let parsed = context.output_or_error().is_ok();
    match response.body().bytes() {
        Some(body) if parsed && response.status().is_success() => {
            let required = cfg.load::<Metadata>().and_then(|m| required_element(m.name()));
            Ok(check(body, required)?)
        }
        _ => Ok(()),
    }
}

#[derive(Debug)]
pub(super) struct TruncationGuard;

#[dyn_dispatch_hint]
impl Intercept for TruncationGuard {
    fn name(&self) -> &'static str {
        "TruncationGuard"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        check_answer(context, cfg, check)
    }
}

/// The same for the JSON protocol.
#[derive(Debug)]
pub(super) struct JsonGuard;

#[dyn_dispatch_hint]
impl Intercept for JsonGuard {
    fn name(&self) -> &'static str {
        "JsonGuard"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        check_answer(context, cfg, check_json)
    }
}

fn check_json(body: &[u8], required: Option<&'static str>) -> Result<(), Truncated> {
    let object: HashMap<Cow<'_, str>, Option<IgnoredAny>> =
        serde_json::from_slice(body).map_err(|_| Truncated::Json)?;
    let has = |name| matches!(object.get(name), Some(Some(_)));
    match required {
        // A page that others follow may be empty.
        Some(name) if !has(name) && !has("NextToken") => Err(Truncated::List(name)),
        _ => Ok(()),
    }
}

fn check(body: &[u8], required: Option<&'static str>) -> Result<(), Truncated> {
    let elements = std::str::from_utf8(body).ok().and_then(elements).ok_or(Truncated::Elements)?;
    match required {
        Some(name) if !elements.contains(name) => Err(Truncated::List(name)),
        _ => Ok(()),
    }
}

/// The names of all elements of a document; `None` unless it is one element, and each in it is closed before those
/// around it.
fn elements(mut rest: &str) -> Option<HashSet<&str>> {
    let mut names = HashSet::new();
    let (mut open, mut roots): (Vec<&str>, usize) = (Vec::new(), 0);
    while let Some((text, markup)) = rest.split_once('<') {
        if open.is_empty() && !text.trim().is_empty() {
            return None;
        }
        let end = match markup.as_bytes() {
            [b'!', b'-', b'-', ..] => "-->",
            [b'!', b'[', ..] => "]]>",
            [b'?', ..] => "?>",
            _ => ">",
        };
        let (tag, after) = markup.split_once(end)?;
        rest = after;
        if tag.starts_with(['!', '?']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            open.pop().filter(|opened| *opened == name.trim_end())?;
            continue;
        }
        roots = roots.saturating_add(usize::from(open.is_empty()));
        let name = tag.split([' ', '\t', '\r', '\n', '/']).next().unwrap_or_default();
        names.insert(name);
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    (open.is_empty() && roots == 1 && rest.trim().is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_complete(body: &[u8]) -> bool {
        check(body, None).is_ok()
    }

    #[test]
    fn only_a_closed_document_is_complete() {
        let whole = "<?xml version=\"1.0\"?>\n<A xmlns=\"x\"><!-- <D> --><B><C/>&lt;<![CDATA[<D>]]></B></A>";
        assert!(is_complete(whole.as_bytes()));
        assert!(is_complete(b"<A></A >\n"));
        for end in 0..whole.len() {
            assert!(!is_complete(&whole.as_bytes()[..end]), "{}", &whole[..end]);
        }
        for cut in ["<A></AB>", "<A><B></A>", "<A><B></A></B>", "<A></A><A>", "<A></A><A></A>", "<A></A>x", "x<A></A>"]
        {
            assert!(!is_complete(cut.as_bytes()), "{cut}");
        }
        assert!(!is_complete(b"<A>\xff</A>"));
    }

    #[test]
    fn a_json_answer_is_a_complete_object_with_its_list() {
        let whole = r#"{"Accounts":[{"Id":"1"}],"NextToken":"a\"}"}"#;
        for end in 0..whole.len() {
            assert_eq!(check_json(&whole.as_bytes()[..end], Some("Accounts")), Err(Truncated::Json));
        }
        for (body, expected) in [
            (whole, Ok(())),
            (r#"{"Accounts":[]}"#, Ok(())),
            (r#"{"NextToken":"a"}"#, Ok(())),
            ("{}", Err(Truncated::List("Accounts"))),
            (r#"{"Accounts":null,"NextToken":null}"#, Err(Truncated::List("Accounts"))),
            ("[]", Err(Truncated::Json)),
            ("{}{}", Err(Truncated::Json)),
        ] {
            assert_eq!(check_json(body.as_bytes(), Some("Accounts")), expected, "{body}");
        }
    }

    #[test]
    fn a_list_that_is_not_there_is_not_an_empty_one() {
        let missing = Err(Truncated::List("Users"));
        for (body, expected) in
            [("<A><Users/></A>", Ok(())), ("<A><Users></Users></A>", Ok(())), ("<A><UsersX/></A>", missing)]
        {
            assert_eq!(check(body.as_bytes(), Some("Users")), expected, "{body}");
        }
    }
}
