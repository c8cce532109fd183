//! Keeps secrets out of what a provider says.

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// Strings that must not be shown, however a provider repeats them.
#[derive(Default)]
pub struct Confidential(Vec<Zeroizing<String>>);

impl Confidential {
    /// What is `text` must not be shown from now on. Short ones are left out: blotting them out
    /// would make nonsense of a provider's words.
    pub(super) fn add(&mut self, text: impl Into<String>) {
        let text = text.into();
        if text.len() >= LEAST_SECRET {
            self.0.push(Zeroizing::new(text));
            // The longest first: blotting out a part of a longer one would leave the rest of it.
            self.0.sort_by_key(|text| std::cmp::Reverse(text.len()));
        }
    }

    /// The text without what must not be shown; nothing of it if a secret shines through in another
    /// spelling, or in part.
    pub(super) fn blot_out(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.as_str(), "•••");
        }
        match self.shines_through(&text) {
            true => "(not shown, because it holds a part of a secret)".into(),
            false => text,
        }
    }

    fn shines_through(&self, text: &str) -> bool {
        let text = bones(text);
        self.0.iter().map(|secret| bones(secret)).any(|secret| {
            let telling = (secret.len() * 3 / 4).clamp(LEAST_SECRET, TELLING);
            let mut parts = secret.windows(telling);
            parts.any(|part| contains(&text, part))
        })
    }
}

/// What is left of a text in whatever way it was escaped: its letters and digits.
fn bones(text: &str) -> Vec<u8> {
    let mut text = percent_decode_str(text).decode_utf8_lossy().into_owned();
    for entity in [
        "&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#39;", "&#x27;",
    ] {
        text = text.replace(entity, "");
    }
    let letters = text.bytes().filter(u8::is_ascii_alphanumeric);
    letters.map(|byte| byte.to_ascii_lowercase()).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

const LEAST_SECRET: usize = 4;

/// So much of a secret in a row is too much; of a short one, three quarters.
const TELLING: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn blotted(text: &str) -> String {
        let mut confidential = Confidential::default();
        confidential.add("p&ss w<rd/1+2");
        confidential.add("abc");
        confidential.blot_out(text)
    }

    #[test]
    fn a_secret_is_blotted_out_and_the_rest_stays() {
        assert_eq!(blotted("not p&ss w<rd/1+2, abc"), "not •••, abc");
        assert_eq!(blotted("the pass is wrong"), "the pass is wrong");
    }

    #[test]
    fn no_other_spelling_shines_through() {
        for said in [
            "not p&amp;ss w&lt;rd/1+2",
            "not p%26ss%20w%3Crd/1%2B2",
            "not p%26ss%20w%3crd/1%2b2",
            "not P&SS W<RD/1+2",
            "not p&ss w<rd/1+",
            "not ss w<rd/1+2 with something before it",
            "not \\u0070&ss w<rd/1+2",
        ] {
            let said = blotted(said);
            assert!(!said.contains("rd"), "{said}");
        }
    }
}
