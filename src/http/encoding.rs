//! Content negotiation: plain or gzip, by `Accept-Encoding` (RFC 9110, section 12.5.3).

/// Whether the value of an `Accept-Encoding` header accepts gzip, and prefers it no less than plain text.
pub fn wants_gzip(accept_encoding: &str) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for item in accept_encoding.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let quality = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="))).map_or(1.0, quality);
        match coding.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(quality),
            "identity" => identity = Some(quality),
            "*" => any = Some(quality),
            _ => {}
        }
    }
    let gzip: f32 = gzip.or(any).unwrap_or(0.0);
    // Plain text is acceptable unless it is refused, but a header that names gzip prefers it at equal quality.
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

fn quality(text: &str) -> f32 {
    text.trim().parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::wants_gzip;

    #[test]
    fn the_preferred_coding_is_chosen() {
        for (header, expected) in [
            ("gzip", true),
            ("", false),
            ("deflate, br", false),
            ("gzip;q=0", false),
            ("gzip; q=0.5, identity", false),
            ("GZIP;q=0.5, identity;q=0.1", true),
            ("*", true),
            ("*;q=0", false),
            ("*, gzip;q=0", false),
            ("deflate, gzip;q=1.0, *;q=0.5", true),
            ("identity", false),
            ("gzip;q=nonsense", false),
        ] {
            assert_eq!(wants_gzip(header), expected, "{header:?}");
        }
    }
}
