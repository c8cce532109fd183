//! A place that several processes reach, as far as the rest of the room knows it.

use std::pin::Pin;
use std::time::Duration;

/// Keeps an entry under each name. It knows nothing of what it keeps.
pub trait Backend {
    /// What stands under a name, and what time it is there.
    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Reading>;

    /// Puts something in the place of what stands under a name, if that is still what it was.
    /// `false` if it is not.
    fn swap<'a>(&'a self, name: &'a str, swap: Swap<'a>) -> Answer<'a, bool>;

    /// Resolves when somebody has said that others should look at this name. Who does not wait is
    /// not told.
    fn news<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

    /// Whether [`Self::news`] can be relied on at this moment.
    fn brings_news(&self) -> bool;
}

/// What a [`Backend`] answers. It need not bound its own duration.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + 'a>>;

/// What was found.
#[derive(Debug)]
pub struct Reading {
    /// The entry; nothing if there is none.
    pub bytes: Vec<u8>,
    /// The time by the clock of the place, which is the same for all who reach it.
    pub now: Duration,
}

/// What is to be put in the place of what.
#[derive(Debug)]
pub struct Swap<'a> {
    /// What was read; nothing if there was nothing.
    pub old: &'a [u8],
    /// What shall stand there from now on.
    pub new: &'a [u8],
    /// How long it is worth keeping.
    pub keep_for: Duration,
    /// Whether others should look at it now.
    pub is_news: bool,
}

/// Why a store is no help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or refuses.
    #[error("the store {0}")]
    Unavailable(String),
    /// It is a directory of this machine that nothing can be kept in.
    #[error("the store {0}")]
    Directory(String),
    /// It can be reached, and does not let this replica in, or do what it has to.
    #[error("the store {why}; {advice}")]
    Denied {
        /// What it says.
        why: String,
        /// What to do next.
        advice: &'static str,
    },
    /// It did not answer in time.
    #[error("the store did not answer within {0:?}")]
    TooLate(Duration),
    /// What it holds was not written with the key at hand.
    #[error("the store's entry cannot be used: {why}; {advice}")]
    Undecipherable {
        /// Why.
        why: &'static str,
        /// What to do next.
        advice: &'static str,
    },
    /// The key at hand cannot be used.
    #[error("the store's key file {0}")]
    Key(String),
    /// Others changed the entry each time.
    #[error("the store's entry is changed by too many others at once")]
    Contended,
    /// The credential is not this replica's to renew at this moment.
    #[error("the store cannot say whose turn it is to use the refresh token")]
    NotHeld,
}

impl StoreError {
    /// Why, and what to do next, each by itself.
    pub fn parts(&self) -> (String, &'static str) {
        match self {
            Self::Denied { why, advice } => (format!("the store {why}"), advice),
            Self::Undecipherable { why, advice } => {
                (format!("the store's entry cannot be used: {why}"), advice)
            }
            Self::Unavailable(_) => (
                self.to_string(),
                "see that it is up, that it can be reached from here, and its own log",
            ),
            Self::Directory(_) => (
                self.to_string(),
                "make it with mkdir -m 700, or let the user that gatepass runs as write to it (ls -ld)",
            ),
            Self::TooLate(_) => (
                self.to_string(),
                "see whether it is up and what keeps it, or give it a longer timeout",
            ),
            Self::Key(_) => (self.to_string(), "check key_file"),
            Self::Contended | Self::NotHeld => (self.to_string(), "try again"),
        }
    }

    /// Every kind as the value of a metric's label.
    pub(super) const LABELS: [&'static str; 4] =
        ["unavailable", "too_late", "undecipherable", "contended"];

    /// Its kind as the value of a metric's label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) | Self::Directory(_) | Self::Denied { .. } => "unavailable",
            Self::TooLate(_) => "too_late",
            Self::Undecipherable { .. } | Self::Key(_) => "undecipherable",
            Self::Contended | Self::NotHeld => "contended",
        }
    }
}
