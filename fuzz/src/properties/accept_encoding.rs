//! `Accept-Encoding`: a header of the grammar of RFC 9110 gets what it prefers, and no header gets gzip that it does not
//! name.

use iam_key_exporter::http::encoding::wants_gzip;

/// The property of this header.
pub fn holds(data: &[u8]) {
    let Ok(header) = std::str::from_utf8(data) else { return };
    let gzip = wants_gzip(header);
    let lower = header.to_ascii_lowercase();
    assert!(!gzip || lower.contains("gzip") || lower.contains('*'), "{header:?} does not name gzip");
    assert_eq!(wants_gzip(&lower), gzip, "case does not matter: {header:?}");
    assert_eq!(wants_gzip(&format!(" {header}\t")), gzip, "outer space does not matter: {header:?}");
    if let Some(codings) = parse(&lower) {
        assert_eq!(gzip, prefers_gzip(&codings), "{header:?}");
    }
}

/// Codings with their weights in thousandths; `None` unless the header is of the grammar, and names no coding twice.
fn parse(header: &str) -> Option<Vec<(&str, u32)>> {
    let space = |c| matches!(c, ' ' | '\t');
    let mut codings: Vec<(&str, u32)> = Vec::new();
    for element in header.split(',').map(|element| element.trim_matches(space)) {
        // A list may have empty elements.
        if element.is_empty() {
            continue;
        }
        let (coding, weight) = match element.split_once(';') {
            None => (element, 1000),
            Some((coding, weight)) => {
                (coding.trim_end_matches(space), thousandths(weight.trim_start_matches(space).strip_prefix("q=")?)?)
            }
        };
        let is_token =
            !coding.is_empty() && coding.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        // RFC 9110, section 8.4.1.3: the two are the same.
        let coding = if coding == "x-gzip" { "gzip" } else { coding };
        if !is_token || codings.iter().any(|(earlier, _)| *earlier == coding) {
            return None;
        }
        codings.push((coding, weight));
    }
    Some(codings)
}

/// `qvalue`: 0 to 1 with at most three decimals.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let weight = format!("{whole}{decimals:0<3}").parse().ok()?;
    (weight <= 1000).then_some(weight)
}

fn prefers_gzip(codings: &[(&str, u32)]) -> bool {
    let weight = |name| codings.iter().find(|(coding, _)| *coding == name).map(|(_, weight)| *weight);
    let gzip = weight("gzip").or(weight("*")).unwrap_or(0);
    gzip > 0 && gzip >= weight("identity").unwrap_or(0)
}
