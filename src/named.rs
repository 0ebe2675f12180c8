//! Closed sets of named values: what a setting, a file and a command line choose from.

use strum::{EnumMessage, VariantArray};

/// One of a closed set of values, each with a word and an explanation. Enums get it from strum's derives: `VariantArray`,
/// `IntoStaticStr` in kebab case, and `EnumMessage`, whose documentation is the explanation.
pub trait Named: Copy + Send + Sync + 'static {
    /// All of them.
    fn all() -> Vec<Self>;

    /// The word for it, such as `fine-confetti`.
    fn word(self) -> &'static str;

    /// What it is, in a line.
    fn explanation(self) -> &'static str;

    /// The value of a word; an underscore stands for a hyphen.
    fn parse(word: &str) -> Option<Self> {
        let word = word.replace('_', "-");
        Self::all().into_iter().find(|choice| choice.word() == word)
    }
}

impl<T: VariantArray + EnumMessage + Into<&'static str> + Copy + Send + Sync> Named for T {
    fn all() -> Vec<T> {
        T::VARIANTS.to_vec()
    }

    fn word(self) -> &'static str {
        self.into()
    }

    fn explanation(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }
}
