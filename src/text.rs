//! Text from outside that is safe on a terminal and on one line of a log.

use std::borrow::Cow;

/// `text` with every character escaped that a terminal acts upon instead of showing it: control characters (line feeds,
/// tabs and escape sequences among them), line separators, and the marks that reverse the direction of writing.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Whether a terminal acts upon this character.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_upon_is_escaped() {
        assert!(matches!(printable("Größe: 1, 山\\n"), Cow::Borrowed("Größe: 1, 山\\n")));
        assert_eq!(printable("a\u{1b}[2J\n\t\r\u{9b}1m\u{202e}b"), r"a\u{1b}[2J\n\t\r\u{9b}1m\u{202e}b");
    }
}
