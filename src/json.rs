//! Reading JSON, with errors that name the key.

use serde::Deserialize;
use serde_json::Deserializer;

use crate::printable::escaped;

/// A value from the whole of some bytes. The error says where in the value and in the text, for example
/// "settings.epochs: invalid value: integer '-3', expected u32 at line 22 column 14".
pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    let mut text = Deserializer::from_slice(bytes);
    // What stands in backticks would be taken for a setting, which the program shows as its flag: these are keys and values of a file.
    let message = |error: String| escaped(&error.replace('`', "'")).into_owned();
    let value = serde_path_to_error::deserialize(&mut text).map_err(|e| message(e.to_string()))?;
    text.end().map_err(|e| message(e.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn errors_name_the_key() {
        let read = |text: &'static str| parse::<BTreeMap<String, Vec<u8>>>(text.as_bytes());
        assert_eq!(read(r#"{"a": [1, 2]}"#).unwrap()["a"], [1, 2]);
        for (text, begin) in [
            (r#"{"a": [1, -2]}"#, "a[1]: invalid value: integer '-2', expected u8"),
            ("{\"a\\n\\u001b[2Jb\": 3}", "a\\u{a}\\u{1b}[2Jb: invalid type: integer '3'"),
            ("3", "invalid type: integer '3', expected a map"),
            (r#"{"a": [1]} {"#, "trailing characters"),
            (r#"{"a": [1"#, "a: EOF while parsing"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(begin) && error.contains(" at line 1 column "), "{error}");
        }
    }
}
