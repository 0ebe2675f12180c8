//! The library's messages as the program shows them: what the library calls a setting or a parameter is a flag here.

use std::collections::HashMap;

use clap::CommandFactory;

use super::Cli;
use crate::run::settings::Setting;

/// A message of the library: names of what the program takes as flags, which stand in backticks, become these flags.
pub(super) fn in_flags(message: &str) -> String {
    if !message.contains('`') {
        return message.to_string();
    }
    let program = Cli::command();
    let commands = program.get_subcommands().chain([&program]);
    let arguments = commands.flat_map(|command| command.get_arguments());
    let flags = arguments.filter_map(|arg| Some((arg.get_id().to_string(), arg.get_long()?.to_string())));
    let flags: HashMap<String, String> = flags.collect();
    rewritten(message, |name| flags.get(name).cloned())
}

/// The same for what the table of settings says.
pub(super) fn of_settings(message: &str) -> String {
    rewritten(message, |name| Setting::of(name).map(Setting::flag))
}

/// What stands in backticks and is known becomes a flag; other backticks stay.
fn rewritten(message: &str, flag: impl Fn(&str) -> Option<String>) -> String {
    let (mut text, mut rest) = (String::new(), message);
    while let Some((before, after)) = rest.split_once('`') {
        text += before;
        let known = after.split_once('`').and_then(|(name, after)| Some((flag(name)?, after)));
        rest = match known {
            Some((flag, after)) => {
                text += &format!("--{flag}");
                after
            }
            None => {
                text.push('`');
                after
            }
        };
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_flags() {
        for (message, told) in [
            ("`oe_limit` 5 limits nothing; leave `outliers` out", "--oe-limit 5 limits nothing; leave --outliers out"),
            // What a flag is called otherwise than its parameter.
            ("`chosen`: there is no test image 3", "--viz-ids: there is no test image 3"),
            ("choose `device` cpu", "choose --device cpu"),
            ("allow more `memory`", "allow more --memory"),
            // What is no setting, and paths with backticks in them.
            ("run `apt-get install x`", "run `apt-get install x`"),
            ("a`b: choose another `out`", "a`b: choose another --out"),
            ("`", "`"),
        ] {
            assert_eq!(in_flags(message), told);
        }
    }
}
