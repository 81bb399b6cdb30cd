//! The guard against answers that are cut off: it accepts what another parser takes for a whole document, and nothing
//! that is cut off.

use super::cuts;
use iam_key_exporter::aws::truncation::{Truncated, check_json, check_xml};
use roxmltree::{Document, Error};
use serde_json::Value;

/// The property of this body.
pub fn holds(data: &[u8]) {
    xml(data);
    json(data);
}

fn xml(body: &[u8]) {
    let is_complete = check_xml(body, None).is_ok();
    let Ok(text) = std::str::from_utf8(body) else {
        assert!(!is_complete, "it is not UTF-8");
        return;
    };
    // AWS declares no document types, and the other parser refuses them unless it may expand their entities. It accepts
    // declarations that are none, such as those of versions of XML that do not exist.
    let has_other_declaration = text.starts_with("<?xml") && !text.starts_with("<?xml version=\"1.0\"?>");
    if text.contains("<!DOCTYPE") || has_other_declaration {
        return;
    }
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            assert!(!is_complete || !is_about_structure(&error), "accepted though {error}: {text:?}");
            return;
        }
    };
    assert!(is_complete, "refused: {text:?}");
    assert_eq!(check_xml(body, Some("Users")).is_ok(), has_element(&document, "Users"), "{text:?}");
    for end in cuts(document.root_element().range().end) {
        assert_eq!(check_xml(&body[..end], None), Err(Truncated::Elements), "{:?}", text.get(..end));
    }
}

fn has_element(document: &Document<'_>, name: &str) -> bool {
    document.descendants().filter(|node| node.is_element()).any(|node| {
        let source = document.input_text()[node.range()].trim_start_matches('<');
        source.split(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').next() == Some(name)
    })
}

/// Whether elements are not closed in their order, or the document is not one element.
fn is_about_structure(error: &Error) -> bool {
    !matches!(
        error,
        Error::InvalidXmlPrefixUri(_)
            | Error::UnexpectedXmlUri(_)
            | Error::UnexpectedXmlnsUri(_)
            | Error::InvalidElementNamePrefix(_)
            | Error::DuplicatedNamespace(..)
            | Error::UnknownNamespace(..)
            | Error::UnknownEntityReference(..)
            | Error::MalformedEntityReference(_)
            | Error::EntityReferenceLoop(_)
            | Error::InvalidAttributeValue(_)
            | Error::DuplicatedAttribute(..)
            | Error::NodesLimitReached
            | Error::AttributesLimitReached
            | Error::NamespacesLimitReached
            | Error::UnexpectedEntityCloseTag(_)
            | Error::NonXmlChar(..)
    )
}

fn json(body: &[u8]) {
    let is_complete = check_json(body, None).is_ok();
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        assert_eq!(is_complete, value.is_object(), "{value}");
        let has = |name: &str| value.get(name).is_some_and(|value| !value.is_null());
        assert_eq!(
            check_json(body, Some("Accounts")).is_ok(),
            is_complete && (has("Accounts") || has("NextToken")),
            "{value}"
        );
    }
    if is_complete {
        for end in cuts(body.trim_ascii_end().len()) {
            assert_eq!(check_json(&body[..end], None), Err(Truncated::Json));
        }
    }
}
