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
use xmlparser::{ElementEnd, Token, Tokenizer};

/// Why an answer is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Truncated {
    /// It is not one XML element in which every element is closed.
    #[error("the answer is cut off: its elements are not closed in their order")]
    Elements,
    /// The list that an answer to the operation always has, which is named, is missing.
    #[error("the answer has no element {0}")]
    List(&'static str),
    /// It is not one JSON object.
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
        check_answer(context, cfg, check_xml)
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

/// Whether the body is one JSON object, which has the required list or is a page that others follow.
///
/// # Errors
/// [`Truncated`] if it is not.
pub fn check_json(body: &[u8], required: Option<&'static str>) -> Result<(), Truncated> {
    let object: HashMap<Cow<'_, str>, Option<IgnoredAny>> =
        serde_json::from_slice(body).map_err(|_| Truncated::Json)?;
    let has = |name| matches!(object.get(name), Some(Some(_)));
    match required {
        // A page that others follow may be empty.
        Some(name) if !has(name) && !has("NextToken") => Err(Truncated::List(name)),
        _ => Ok(()),
    }
}

/// Whether the body is one XML element that is closed, as every element in it is, and has the required element.
///
/// # Errors
/// [`Truncated`] if it is not.
pub fn check_xml(body: &[u8], required: Option<&'static str>) -> Result<(), Truncated> {
    let elements = std::str::from_utf8(body).ok().and_then(elements).ok_or(Truncated::Elements)?;
    match required {
        Some(name) if !elements.contains(name) => Err(Truncated::List(name)),
        _ => Ok(()),
    }
}

/// The names of all elements of a document; `None` unless it is one element, and each in it is closed before those
/// around it. The tokens are those that the SDK reads, so that both agree on where an element ends.
fn elements(document: &str) -> Option<HashSet<&str>> {
    let mut names = HashSet::new();
    let (mut open, mut roots): (Vec<&str>, usize) = (Vec::new(), 0);
    // The name of the tag that has no end yet.
    let mut begun = None;
    for token in Tokenizer::from(document) {
        match token.ok()? {
            // With the prefix, which answers of AWS do not have.
            Token::ElementStart { span, .. } => {
                let name = span.as_str().trim_start_matches('<');
                roots = roots.saturating_add(usize::from(open.is_empty()));
                names.insert(name);
                begun = Some(name);
            }
            Token::ElementEnd { end: ElementEnd::Open, .. } => open.push(begun.take()?),
            Token::ElementEnd { end: ElementEnd::Empty, .. } => drop(begun.take()?),
            Token::ElementEnd { end: ElementEnd::Close(..), span } => {
                let name = span.as_str().trim_start_matches("</").trim_end_matches('>').trim_end();
                open.pop().filter(|opened| *opened == name)?;
            }
            _ => {}
        }
    }
    (open.is_empty() && begun.is_none() && roots == 1).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_complete(body: &[u8]) -> bool {
        check_xml(body, None).is_ok()
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
        assert!(!is_complete(b"<A><B c='/>'></A>"), "what is in an attribute closes no element");
        assert!(is_complete(b"<A><B c='/>'></B></A>"));
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
            assert_eq!(check_xml(body.as_bytes(), Some("Users")), expected, "{body}");
        }
    }
}
