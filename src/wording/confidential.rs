//! Keeps secrets out of what others say.

use std::collections::HashSet;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// Strings that must not be shown, however somebody who was told them repeats them.
#[derive(Default, Clone)]
pub struct Confidential(Vec<Zeroizing<String>>);

impl Confidential {
    /// What is `text` must not be shown from now on. Short ones are left out: blotting them out
    /// would make nonsense of the words of others.
    pub fn add(&mut self, text: impl Into<String>) {
        let text = text.into();
        if text.len() >= LEAST_SECRET && !self.0.iter().any(|known| **known == text) {
            // The longest first: blotting out a part of a longer one would leave the rest of it.
            let place = self.0.partition_point(|known| known.len() >= text.len());
            self.0.insert(place, Zeroizing::new(text));
        }
    }

    /// These, and more.
    #[must_use]
    pub fn and<'a>(&self, more: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = self.clone();
        more.into_iter().for_each(|text| all.add(text));
        all
    }

    /// The beginning of the text without what must not be shown; nothing of it if a secret shines
    /// through in another spelling, or in part.
    pub fn blot_out(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.as_str(), "•••");
        }
        // Not before: it would leave half of one where the beginning ends.
        let text: String = text.chars().take(LONGEST_TEXT).collect();
        match self.shines_through(&text) {
            true => "(not shown, because it holds a part of a secret)".into(),
            false => text,
        }
    }

    fn shines_through(&self, text: &str) -> bool {
        let text = bones(text);
        self.0.iter().map(|secret| bones(secret)).any(|secret| {
            let telling = (secret.len() * 3 / 4).clamp(LEAST_SECRET, TELLING);
            let said: HashSet<&[u8]> = text.windows(telling).collect();
            secret.windows(telling).any(|part| said.contains(part))
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

const LEAST_SECRET: usize = 4;

/// So much of a secret in a row is too much; of a short one, three quarters.
const TELLING: usize = 8;

/// Much more than is ever shown. What a provider says may be many times as long, and to look in all of
/// it for every part of every secret would hold up whoever else is on the control plane.
const LONGEST_TEXT: usize = 4096;

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

    #[test]
    fn a_secret_across_the_end_of_the_beginning_is_blotted_out() {
        let secret = "p&ss w<rd/1+2";
        for half in 0..=secret.len() {
            let before = "-".repeat(LONGEST_TEXT - half);
            let said = blotted(&format!("{before}{secret}, and more"));
            let rest = said.trim_start_matches('-');
            assert!("•••, and more".starts_with(rest), "{half}: {rest}");
        }
        for half in [10, 11, 12, 13] {
            let before = "-".repeat(LONGEST_TEXT - half);
            let said = blotted(&format!("{before}{}", secret.to_uppercase()));
            assert!(said.starts_with("(not shown"), "{half}");
        }
    }

    #[test]
    fn what_is_never_shown_is_not_looked_at() {
        let long = "-".repeat(LONGEST_TEXT);
        assert_eq!(blotted(&format!("{long}P&SS W<RD/1+2")), long);
    }
}
