//! The values at the leaves of a configuration.
//!
//! Environment variables can only be text, and text is all that [`super::layers`] makes of them:
//! guessing types would turn a secret of digits into a number. So each of these reads text as well
//! as the form that TOML has for it.

use std::time::Duration;

use secrecy::SecretString;

/// What a value is made of. `EXPECTED` completes the sentence "expected …".
pub(super) trait Scalar: Sized {
    const EXPECTED: &'static str;

    fn from_text(text: &str) -> Option<Self>;

    fn from_number(_: u64) -> Option<Self> {
        None
    }

    fn from_bool(_: bool) -> Option<Self> {
        None
    }
}

/// What is written, or else the default.
pub(super) fn value_or<T: Into<V>, V>(written: Option<T>, default: V) -> V {
    written.map_or(default, Into::into)
}

/// A length of time, such as `30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl Scalar for Span {
    const EXPECTED: &'static str = "a length of time above zero, such as \"30s\" or \"1m 30s\"";

    fn from_text(text: &str) -> Option<Self> {
        let duration = humantime::parse_duration(text).ok()?;
        // A year is more than any wait can use, and far from what overflows a timer.
        (!duration.is_zero() && duration <= Duration::from_secs(366 * 86_400))
            .then_some(Self(duration))
    }
}

/// A number of bytes, such as `64KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl Scalar for Size {
    const EXPECTED: &'static str = "a size such as \"64KiB\", \"10MiB\" or \"1GiB\", with an i: KB, MB and GB \
                                    mean one number to some and another to others";

    fn from_text(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match text.strip_prefix(digits)?.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        digits
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(factor)
            .map(Self)
    }

    fn from_number(number: u64) -> Option<Self> {
        Some(Self(number))
    }
}

/// A whole number above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count(pub(super) usize);

impl Scalar for Count {
    const EXPECTED: &'static str = "a whole number above zero";

    fn from_text(text: &str) -> Option<Self> {
        Self::from_number(text.parse().ok()?)
    }

    fn from_number(number: u64) -> Option<Self> {
        let number = usize::try_from(number).ok()?;
        (number > 0).then_some(Self(number))
    }
}

/// How many threads serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workers {
    /// As many as this process may use processors at once.
    Auto,
    /// So many.
    Fixed(Count),
}

impl Scalar for Workers {
    const EXPECTED: &'static str = "a whole number above zero, or \"auto\"";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            number => Count::from_text(number).map(Self::Fixed),
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        Count::from_number(number).map(Self::Fixed)
    }
}

/// A whole number, which may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(pub(super) u32);

impl Scalar for Number {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn from_number(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self)
    }
}

/// How often something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retries(pub(super) u32);

impl Retries {
    pub(super) const MOST: u32 = 10;
}

impl Scalar for Retries {
    const EXPECTED: &'static str = "a whole number from 0 to 10";

    fn from_text(text: &str) -> Option<Self> {
        Self::from_number(text.parse().ok()?)
    }

    fn from_number(number: u64) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        // Each one is a connection more to an upstream that is in trouble already.
        (number <= Self::MOST).then_some(Self(number))
    }
}

/// The mode of a file, in the digits that `chmod` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileMode(pub(super) u32);

impl Scalar for FileMode {
    const EXPECTED: &'static str = "a file's mode in octal digits and quotes, such as \"0660\"";

    fn from_text(text: &str) -> Option<Self> {
        let mode = u32::from_str_radix(text, 8).ok()?;
        (text.len() >= 3 && mode <= 0o777).then_some(Self(mode))
    }
}

/// A part of a whole, such as `10%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share(pub(super) f64);

impl Scalar for Share {
    const EXPECTED: &'static str = "a part of a token's life from \"0%\" to \"70%\"";

    fn from_text(text: &str) -> Option<Self> {
        part_of(text, 70.0).map(Self)
    }
}

/// A part of all, such as `10%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percentage(pub(super) f64);

impl Scalar for Percentage {
    const EXPECTED: &'static str = "a part of all from \"0%\" to \"100%\"";

    fn from_text(text: &str) -> Option<Self> {
        part_of(text, 100.0).map(Self)
    }
}

fn part_of(text: &str, most: f64) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=most).contains(&percent).then_some(percent / 100.0)
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

impl Scalar for Flag {
    const EXPECTED: &'static str = "true or false";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn from_bool(value: bool) -> Option<Self> {
        Some(Self(value))
    }
}

/// One text or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OneOrMany(pub(super) Vec<String>);

/// A value that may be secret: itself, or where it is kept (`{ file = "…" }`, `{ env = "…" }`).
#[derive(Debug, Clone)]
pub(super) enum SecretSource {
    Value(SecretString),
    File(String),
    Variable(String),
}

macro_rules! plain {
    ($($scalar:ident: $value:ty;)*) => {$(
        impl From<$scalar> for $value {
            fn from(scalar: $scalar) -> Self {
                scalar.0
            }
        }
    )*};
}

plain! {
    Span: Duration;
    Count: usize;
    Number: u32;
    Retries: u32;
    Flag: bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("64KiB", Some(65_536)),
            ("1 MiB", Some(1_048_576)),
            ("2GiB", Some(2_147_483_648)),
            ("100", Some(100)),
            ("100B", Some(100)),
            ("64KB", None),
            ("-1", None),
            ("KiB", None),
            ("", None),
            ("99999999999999999999GiB", None),
        ] {
            assert_eq!(Size::from_text(text).map(|size| size.0), bytes, "{text}");
        }
    }

    #[test]
    fn retries() {
        for (text, number) in [("0", Some(0)), ("10", Some(10)), ("11", None), ("-1", None)] {
            let parsed = Retries::from_text(text).map(|retries| retries.0);
            assert_eq!(parsed, number, "{text}");
        }
    }

    #[test]
    fn modes() {
        for (text, mode) in [
            ("0660", Some(0o660)),
            ("600", Some(0o600)),
            ("0", None),
            ("0888", None),
            ("7777", None),
            ("rw-rw----", None),
        ] {
            let parsed = FileMode::from_text(text).map(|mode| mode.0);
            assert_eq!(parsed, mode, "{text}");
        }
        // 660 without quotes is a number, and nobody knows whether it is meant in octal digits.
        assert_eq!(FileMode::from_number(660), None);
    }

    #[test]
    fn shares() {
        for (text, share) in [
            ("10%", Some(0.1)),
            ("0 %", Some(0.0)),
            ("70%", Some(0.7)),
            ("71%", None),
            ("-1%", None),
            ("NaN%", None),
            ("0.1", None),
            ("%", None),
        ] {
            assert_eq!(Share::from_text(text).map(|share| share.0), share, "{text}");
        }
    }

    #[test]
    fn spans() {
        for (text, millis) in [
            ("30s", Some(30_000)),
            ("1m 30s", Some(90_000)),
            ("250ms", Some(250)),
            ("0s", None),
            ("30", None),
            ("ten", None),
            ("900years", None),
        ] {
            assert_eq!(
                Span::from_text(text).map(|span| span.0.as_millis()),
                millis,
                "{text}"
            );
        }
    }
}
