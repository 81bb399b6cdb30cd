//! The `Authorization` header, parsed as Go parses it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use zeroize::Zeroizing;

const SCHEME: &str = "Basic ";

/// A name and a password, any bytes. The name ends at the first colon.
pub(super) struct Credentials {
    bytes: Zeroizing<Vec<u8>>,
    colon: usize,
}

impl Credentials {
    /// Those of the first `Authorization` header, if it has the scheme `Basic`.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let (scheme, encoded) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) {
            return None;
        }
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).ok()?);
        let colon = bytes.iter().position(|byte| *byte == b':')?;
        Some(Credentials { bytes, colon })
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.bytes[..self.colon]
    }

    pub(super) fn password(&self) -> &[u8] {
        &self.bytes[self.colon + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(header: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let value = hyper::header::HeaderValue::from_bytes(header).unwrap();
        let credentials = Credentials::of(&HeaderMap::from_iter([(AUTHORIZATION, value)]))?;
        Some((credentials.name().to_vec(), credentials.password().to_vec()))
    }

    /// The cases of Go's `TestParseBasicAuth` and `TestGetBasicAuth`, and bytes that are not UTF-8.
    #[test]
    fn headers_are_parsed_as_in_go() {
        let encode = |text: &[u8]| BASE64_STANDARD.encode(text);
        for (credentials, name, password) in [
            (&b"Aladdin:open sesame"[..], &b"Aladdin"[..], &b"open sesame"[..]),
            (b"Aladdin:open:sesame", b"Aladdin", b"open:sesame"),
            (b":", b"", b""),
            (b"alice:", b"alice", b""),
            (b":x", b"", b"x"),
            (b"\xff:\xfe\x00", b"\xff", b"\xfe\x00"),
        ] {
            for scheme in ["Basic", "BASIC", "basic"] {
                let header = format!("{scheme} {}", encode(credentials));
                assert_eq!(parsed(header.as_bytes()), Some((name.to_vec(), password.to_vec())), "{header}");
            }
        }
        let valid = encode(b"Aladdin:open sesame");
        for header in [
            format!("Basic{valid}"),
            valid.clone(),
            "Basic ".to_owned(),
            "Basic".to_owned(),
            "Basic Aladdin:open sesame".to_owned(),
            format!("Digest {valid}"),
            format!("Bearer {valid}"),
            format!("Basic {}", encode(b"no colon")),
            format!("Basic {}", valid.trim_end_matches('=')),
            format!("Basic  {valid}"),
        ] {
            assert_eq!(parsed(header.as_bytes()), None, "{header}");
        }
        assert_eq!(parsed(b"Basic \xff\xfe"), None);
        assert!(Credentials::of(&HeaderMap::new()).is_none());
    }
}
