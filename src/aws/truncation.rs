//! Refuses truncated answers. The SDK's XML reader takes the end of the input for the end of every open element: a list
//! that was cut off between two members would pass for a shorter list.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

#[derive(Debug, thiserror::Error)]
#[error("the answer is cut off: its outermost element is not closed")]
struct Truncated;

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
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // An answer that the SDK could not parse has an error with more details.
        let parsed = context.output_or_error().is_ok();
        match response.body().bytes() {
            Some(body) if parsed && response.status().is_success() && !is_complete(body) => Err(Truncated.into()),
            _ => Ok(()),
        }
    }
}

/// Whether a document ends with the end of its outermost element.
fn is_complete(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut rest = text.trim_start();
    while let Some(prolog) = rest.strip_prefix("<?").or_else(|| rest.strip_prefix("<!")) {
        let Some((_, after)) = prolog.split_once('>') else { return false };
        rest = after.trim_start();
    }
    let Some(root) = rest.strip_prefix('<').and_then(|r| r.split([' ', '\t', '\r', '\n', '>', '/']).next()) else {
        return false;
    };
    text.trim_end().strip_suffix('>').is_some_and(|t| t.trim_end().ends_with(&format!("</{root}")))
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn only_a_closed_document_is_complete() {
        let whole = "<?xml version=\"1.0\"?>\n<A xmlns=\"x\"><B><C/></B></A>";
        assert!(is_complete(whole.as_bytes()));
        assert!(is_complete(b"<A></A >\n"));
        for end in 0..whole.len() {
            assert!(!is_complete(&whole.as_bytes()[..end]), "{}", &whole[..end]);
        }
        assert!(!is_complete(b"<A></AB>"));
    }
}
