//! Names as people see them. A file's name may hold anything: escape codes that forge what a terminal shows, line breaks that forge
//! rows, formulas that a spreadsheet runs. Wherever a name is written for people, it goes through here.

use std::borrow::Cow;
use std::path::Path;

/// Paths as text for people.
pub(crate) trait Printable {
    /// The path as text without control characters, that is no formula. It still names the file, unless it had any of them.
    fn printable(&self) -> String;
}

impl Printable for Path {
    fn printable(&self) -> String {
        let text = self.to_string_lossy();
        let text = if is_formula(&text) { format!("./{text}").into() } else { text };
        escaped(&text).into_owned()
    }
}

/// The same text with control characters spelt out, as `\u{1b}`: those that move a cursor, break a line or turn the direction of text.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return text.into();
    }
    let spelt = |c: char| if is_control(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(spelt).collect::<String>().into()
}

/// The same for text of several lines.
pub(crate) fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// A cell of a table in CSV: text that a spreadsheet would take for a formula begins with an apostrophe.
pub(crate) fn csv_cell(text: &str) -> Cow<'_, str> {
    let text = escaped(text);
    if is_formula(&text) && text.parse::<f64>().is_err() { format!("'{text}").into() } else { text }
}

/// Text in a table of Markdown: none of it is markup.
pub(crate) fn markdown(text: &str) -> String {
    let markup = |c: char| "\\`*[]<>|&".contains(c);
    let plain = |c: char| if markup(c) { format!("\\{c}") } else { c.to_string() };
    escaped(text).chars().map(plain).collect()
}

fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@'])
}

fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_that_is_only_to_be_read() {
        assert_eq!(Path::new("a/b c.png").printable(), "a/b c.png");
        assert_eq!(Path::new("a\u{1b}[31m\nb.png").printable(), "a\\u{1b}[31m\\u{a}b.png");
        assert_eq!(Path::new("=1+1.png").printable(), "./=1+1.png");
        assert_eq!(Path::new("a/=1+1.png").printable(), "a/=1+1.png");
        assert_eq!(escaped("left\u{202e}right"), "left\\u{202e}right");
        assert_eq!(escaped_lines("one\ntwo\rthree"), "one\ntwo\\u{d}three");
        assert_eq!(
            ["@x", "-0.5", "+1e3", "a=b"].map(|text| csv_cell(text).into_owned()),
            ["'@x", "-0.5", "+1e3", "a=b"]
        );
        assert_eq!(markdown("a|b <c> sea-level_1"), "a\\|b \\<c\\> sea-level_1");
    }
}
