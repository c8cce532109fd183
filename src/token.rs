//! The token's life: fetched, published, kept fresh, and taken away when it ends.
//!
//! [`source::TokenSource`] says where a token comes from, [`refresher::Refresher`] is the loop that
//! asks it, [`schedule`] says when, and [`cell`] is where the data plane finds the result.

pub(crate) mod budget;
pub mod cell;
pub(crate) mod clock;
mod credentials;
pub mod demand;
pub mod heartbeat;
mod history;
pub mod metrics;
pub mod refresher;
pub mod schedule;
pub mod source;
mod unmended;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use secrecy::ExposeSecret;
use tokio::time::Instant;

pub use cell::{TokenReader, TokenWriter};
pub use clock::Moment;
pub use credentials::Credentials;
pub use demand::{Refusal, RefusalSettings, RefusedBy};
pub use history::Attempt;
use source::{FetchError, FetchedToken};

/// A token that the data plane may send, with all that was worked out about it beforehand.
#[derive(Clone)]
pub struct AccessToken {
    header: HeaderValue,
    /// How long it may be sent, from the beginning of its life.
    sent_for: Duration,
    retire_at: Instant,
    refresh_at: Instant,
    /// See [`Self::counting_sleep`].
    counted_sleep: Duration,
    generation: u64,
    refused_secret: Option<Arc<str>>,
}

impl AccessToken {
    /// Prepares a token that was asked for at a moment.
    ///
    /// `early` moves the refresh by a part of the life, see [`schedule::refresh_after`].
    ///
    /// # Errors
    ///
    /// The token holds a character that cannot stand in the header.
    pub fn new(
        fetched: &FetchedToken,
        asked: Moment,
        early: f64,
        generation: u64,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        let token = fetched.secret.expose_secret();
        let mut header = match fetched.scheme.as_str() {
            "" => HeaderValue::try_from(token)?,
            scheme => HeaderValue::try_from(format!("{scheme} {token}"))?,
        };
        // Keeps the value out of `Debug` output and, in HTTP/2, out of the compression table.
        header.set_sensitive(true);
        let lifetime = fetched.lifetime.min(LONGEST_LIFE);
        let refresh_after = schedule::refresh_after(lifetime, fetched.refresh_in, early);
        // What is over already cannot be taken off the moment: the machine may be younger than the
        // token.
        let from_asked = |after: Duration| asked.at + after.saturating_sub(fetched.age);
        Ok(Self {
            header,
            sent_for: schedule::retire_after(lifetime),
            retire_at: from_asked(schedule::retire_after(lifetime)),
            refresh_at: from_asked(refresh_after),
            counted_sleep: asked.asleep,
            generation,
            refused_secret: fetched.refused_secret.as_deref().map(Arc::from),
        })
    }

    /// The value of the header field, `Authorization` as a rule.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// When the token is no longer sent; never later than its end.
    pub fn retire_at(&self) -> Instant {
        self.retire_at
    }

    /// How long it may be sent in all, from the beginning of its life to [`Self::retire_at`].
    pub fn sent_for(&self) -> Duration {
        self.sent_for
    }

    /// How old it is.
    pub fn age(&self, now: Instant) -> Duration {
        let left = self.retire_at.saturating_duration_since(now);
        self.sent_for.saturating_sub(left)
    }

    /// When the next token is to be fetched; earlier than [`Self::retire_at`].
    pub fn refresh_at(&self) -> Instant {
        self.refresh_at
    }

    /// The same token, when the machine has been asleep for so long since it was started: timers
    /// stood still meanwhile, and the token grew older.
    fn counting_sleep(&self, asleep: Duration) -> Self {
        let unseen = asleep.saturating_sub(self.counted_sleep);
        let earlier = |at: Instant| at.checked_sub(unseen).unwrap_or(at);
        Self {
            header: self.header.clone(),
            sent_for: self.sent_for,
            retire_at: earlier(self.retire_at),
            refresh_at: earlier(self.refresh_at),
            counted_sleep: self.counted_sleep + unseen,
            generation: self.generation,
            refused_secret: self.refused_secret.clone(),
        }
    }

    /// The same token, as the one that it is.
    fn of_generation(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// What the provider said of a newer secret, if this token was got with the one before it.
    pub fn refused_secret(&self) -> Option<&str> {
        self.refused_secret.as_deref()
    }

    /// Which token of its credential this is, counted from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Shows all but the token.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("generation", &self.generation)
            .field("retire_at", &self.retire_at)
            .finish_non_exhaustive()
    }
}

/// What a credential has to offer at this moment. Each state holds the last failure since the last
/// success, if there was one.
#[derive(Debug, Clone)]
pub enum TokenState {
    /// No token has been obtained yet.
    Pending(Option<Setback>),
    /// A token that may be sent until its end.
    Valid(AccessToken, Option<Setback>),
    /// The last token's life is over and there is no new one.
    Expired(Option<Setback>),
}

/// The last failure to get a token, and when the next attempt follows.
#[derive(Debug, Clone)]
pub struct Setback {
    /// What went wrong.
    pub error: Arc<FetchError>,
    /// When it is tried again.
    pub next_attempt: Instant,
}

/// What failed, what to do about it, and when the next attempt is due.
impl fmt::Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = clock::whole_seconds_until(self.next_attempt);
        write!(f, "{}; next attempt in {wait} s", self.error)
    }
}

impl TokenState {
    /// The token, if there is one that may be sent.
    pub fn valid(&self) -> Option<&AccessToken> {
        match self {
            Self::Valid(token, _) => Some(token),
            Self::Pending(_) | Self::Expired(_) => None,
        }
    }

    /// The generation of the token at hand; 0 if there is none.
    pub fn generation(&self) -> u64 {
        self.valid().map_or(0, AccessToken::generation)
    }

    /// The last failure to get a token since the last success.
    pub fn setback(&self) -> Option<&Setback> {
        match self {
            Self::Pending(setback) | Self::Valid(_, setback) | Self::Expired(setback) => {
                setback.as_ref()
            }
        }
    }

    /// The same state, see [`AccessToken::counting_sleep`].
    fn counting_sleep(&self, asleep: Duration) -> Self {
        match self {
            Self::Valid(token, setback) => {
                Self::Valid(token.counting_sleep(asleep), setback.clone())
            }
            other => other.clone(),
        }
    }

    /// The same state, as if nothing had failed.
    fn without_setback(&self) -> Self {
        match self {
            Self::Pending(_) => Self::Pending(None),
            Self::Valid(token, _) => Self::Valid(token.clone(), None),
            Self::Expired(_) => Self::Expired(None),
        }
    }

    /// Why there is no token; nothing when there is one. See [`Self::why_not_sent`].
    pub fn why_unusable(&self) -> Option<String> {
        match self {
            Self::Valid(..) => None,
            Self::Pending(_) | Self::Expired(_) => Some(self.why_not_sent()),
        }
    }

    /// Why there is no next token yet, although it was asked for: the time to act, because no request
    /// fails so far. As the rest of a sentence that begins with the credential's name.
    pub fn why_ageing(&self) -> Option<String> {
        let Self::Valid(token, Some(setback)) = self else {
            return None;
        };
        let left = Duration::from_secs(clock::whole_seconds_until(token.retire_at()));
        let left = humantime::format_duration(left);
        Some(format!(
            "has no next token yet: {setback}; the one at hand is sent for {left} more"
        ))
    }

    /// What needs an operator's attention although tokens come, as the rest of a sentence that begins
    /// with the credential's name.
    pub fn remark(&self) -> Option<String> {
        let refusal = self.valid()?.refused_secret()?;
        Some(format!("{ON_THE_PREVIOUS_SECRET}: {refusal}"))
    }

    /// Why no token is sent, as the rest of a sentence that begins with the credential's name. If
    /// there is one, its end has come and nobody has taken it away yet.
    pub fn why_not_sent(&self) -> String {
        let since = match self {
            Self::Pending(_) => "has no token yet",
            Self::Valid(..) | Self::Expired(_) => "has no token since the last one expired",
        };
        match self.setback() {
            Some(setback) => format!("{since}: {setback}"),
            None => format!("{since}: the next one is on its way"),
        }
    }

    /// How long a caller does well to wait before it asks again, in whole seconds, at least 1.
    pub fn retry_after_seconds(&self) -> u64 {
        self.setback().map_or(1, |setback| {
            clock::whole_seconds_until(setback.next_attempt).max(1)
        })
    }
}

/// What is said of a credential whose secret is refused, or whose file is missing or empty.
const ON_THE_PREVIOUS_SECRET: &str =
    "gets its tokens with the previous secret, because the present one cannot be used";

/// Longer lives are counted as this one: ten years, which no process outlives and which cannot
/// overflow a timer.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
