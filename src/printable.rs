//! Names as people see them. A file's name may hold anything: escape codes that forge what a terminal shows, line breaks that forge
//! rows, formulas that a spreadsheet runs. Wherever a name is written for people, it goes through here.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

/// Paths as text for people.
pub(crate) trait Printable {
    /// The path as text without control characters, that is no formula. It still names the file, unless it had any of them, or bytes that are no
    /// text.
    fn printable(&self) -> String;
}

impl Printable for Path {
    fn printable(&self) -> String {
        let text = spelt(self.as_os_str());
        if is_formula(&text) { format!("./{text}") } else { text }
    }
}

/// A name as text, another for each: bytes that are no text as `\xff`, control characters as `\u{1b}`, and backslashes twice where these and
/// what follows them would be read as one of those.
pub(crate) fn spelt(name: &OsStr) -> String {
    spelt_bytes(name.as_encoded_bytes())
}

/// The same of a name that came as bytes.
pub(crate) fn spelt_bytes(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(first) = rest.chars().next() {
            let run = rest.len() - rest.trim_start_matches('\\').len();
            let (now, after) = rest.split_at(run.max(first.len_utf8()));
            match first {
                '\\' => text.push_str(&now.repeat(if is_spelling(after, chunk.invalid()) { 2 } else { 1 })),
                first if is_control(first) => text.extend(first.escape_unicode()),
                first => text.push(first),
            }
            rest = after;
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Whether text, and bytes after it that are none, would with a backslash before it be read as something that is spelt out.
fn is_spelling(text: &str, no_text: &[u8]) -> bool {
    let is_hex = |digits: &str| digits.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    match text.chars().next() {
        None => !no_text.is_empty(),
        Some(first) => is_control(first) || text.starts_with("u{") || text.strip_prefix('x').is_some_and(is_hex),
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
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
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
        assert_eq!(escaped("\u{e0041}unseen\u{feff}"), "\\u{e0041}unseen\\u{feff}");
        assert_eq!(escaped_lines("one\ntwo\rthree"), "one\ntwo\\u{d}three");
        assert_eq!(
            ["@x", "-0.5", "+1e3", "a=b"].map(|text| csv_cell(text).into_owned()),
            ["'@x", "-0.5", "+1e3", "a=b"]
        );
        assert_eq!(markdown("a|b <c> sea-level_1"), "a\\|b \\<c\\> sea-level_1");
    }

    /// Reads what [`spelt`] writes.
    #[cfg(unix)]
    fn read(text: &str) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::new(), text);
        while let Some(first) = rest.chars().next() {
            let run = rest.len() - rest.trim_start_matches('\\').len();
            let after = &rest[run..];
            if run == 0 {
                bytes.extend(first.to_string().bytes());
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let spells = is_spelling(after, &[]);
            bytes.extend(std::iter::repeat_n(b'\\', if spells { run / 2 } else { run }));
            rest = after;
            if spells && run % 2 == 1 {
                let (digits, left) = match after.strip_prefix("u{") {
                    Some(code) => code.split_once('}').unwrap(),
                    None => after[1..].split_at(2),
                };
                let code = u32::from_str_radix(digits, 16).unwrap();
                match after.starts_with('u') {
                    true => bytes.extend(char::from_u32(code).unwrap().to_string().bytes()),
                    false => bytes.push(code as u8),
                }
                rest = left;
            }
        }
        bytes
    }

    #[cfg(unix)]
    #[test]
    fn each_name_has_a_text_of_its_own() {
        use std::os::unix::ffi::OsStrExt;
        let of = |name: &[u8]| spelt(OsStr::from_bytes(name));
        assert_eq!(of(b"od/\xff.png"), "od/\\xff.png");
        assert_eq!(of(b"od/\\xff.png"), "od/\\\\xff.png");
        assert_eq!(of(b"\\\x1b \\u{1b} \\\xfe"), "\\\\\\u{1b} \\\\u{1b} \\\\\\xfe");
        for windows in [r"C:\users\x.png", r"\\server\part\1", r"d:\"] {
            assert_eq!(of(windows.as_bytes()), windows);
        }
        // All names of up to six of these.
        let alphabet = [&b"\\"[..], b"x", b"u", b"{", b"}", b"1b", b"\x1b", b"\xff", "\u{e9}".as_bytes()];
        for n in 0..=6 {
            for number in 0..alphabet.len().pow(n) {
                let parts = (0..n).map(|i| alphabet[number / alphabet.len().pow(i) % alphabet.len()]);
                let name = parts.collect::<Vec<_>>().concat();
                let text = of(&name);
                assert!(!text.contains(is_control));
                assert_eq!(read(&text), name, "{text}");
            }
        }
    }
}
