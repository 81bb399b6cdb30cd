//! The body of a request of AWS's query protocol: an HTML form.

use std::collections::BTreeMap;

/// Names and values, decoded. Invalid UTF-8 becomes a replacement character, which no test expects.
pub fn parse(body: &str) -> BTreeMap<String, String> {
    body.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (decode(k), decode(v))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn escapes_are_decoded() {
    let form = parse("Action=ListAccessKeys&UserName=a%2Cb%2Bc+d&Empty=");
    assert_eq!(form["Action"], "ListAccessKeys");
    assert_eq!(form["UserName"], "a,b+c d");
    assert_eq!(form["Empty"], "");
}
