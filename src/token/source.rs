//! Where a token comes from, and the ways in which that fails.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use secrecy::SecretString;

use super::schedule::Pace;

/// One way to get a token. What it asks and how is its own affair.
pub trait TokenSource {
    /// Gets a token, once. An implementation bounds its own duration.
    fn fetch(&self, occasion: Occasion) -> FetchFuture<'_>;

    /// Whether an attempt that was begun should be let end when gatepass stops: what the provider
    /// has handed out once, it may not hand out again.
    fn must_finish(&self) -> bool {
        false
    }

    /// Who got the last token, if it is one that others use as well, and renew as well.
    fn shared_by(&self) -> Option<String> {
        None
    }

    /// How many attempts a minute changes may cause. Where others are asked, that is few.
    fn changes_per_minute(&self) -> u32 {
        4
    }

    /// Resolves when another attempt may end otherwise than the last one did, with what has changed,
    /// if that is worth telling: a secret's file on this machine, for instance.
    fn changed(&self) -> Changed<'_> {
        Box::pin(std::future::pending())
    }
}

/// What a token is fetched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It is time to, by the token at hand or by the pace of failures.
    Due,
    /// Somebody wants another token before its time: an upstream refused this one, an operator
    /// asks, or what tokens are got with has changed.
    Demanded,
}

/// The outcome of [`TokenSource::fetch`]; it lives on the control plane's thread, so it need not
/// be `Send`.
pub type FetchFuture<'a> = Pin<Box<dyn Future<Output = Result<FetchedToken, FetchError>> + 'a>>;

/// What [`TokenSource::changed`] returns.
pub type Changed<'a> = Pin<Box<dyn Future<Output = Option<&'static str>> + 'a>>;

/// A token as it was handed out.
#[derive(Debug, Clone)]
pub struct FetchedToken {
    /// The token: visible ASCII characters only, and of bounded length.
    pub secret: SecretString,
    /// The word that goes before it in the header; empty for none.
    pub scheme: String,
    /// How long it is good for from the beginning of its life; never zero, and no longer than anybody
    /// could reckon with.
    pub lifetime: Duration,
    /// When it is to be refreshed at the latest, from the beginning of its life: because the provider
    /// says so, or takes its time.
    pub refresh_in: Option<Duration>,
    /// How much of its life was over at the moment at which it was asked for: nothing, unless
    /// somebody else had got it before.
    pub age: Duration,
    /// What was said of a newer secret, if this token was got with the one before it.
    pub refused_secret: Option<String>,
}

#[cfg(test)]
impl FetchedToken {
    /// One that was handed out just now.
    pub(crate) fn fresh(secret: impl Into<SecretString>, lifetime: Duration) -> Self {
        Self {
            secret: secret.into(),
            scheme: "Bearer".into(),
            lifetime,
            refresh_in: None,
            age: Duration::ZERO,
            refused_secret: None,
        }
    }
}

/// A failure to get a token: whose doing it was, and what an operator should read.
///
/// Neither message nor advice ever holds a secret, a token or the provider's raw answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchError {
    /// What kind of failure this is; decides the pace of further attempts and the metric.
    pub kind: FailureKind,
    /// What failed, on what, and why.
    pub message: String,
    /// What to do next, where that is known.
    pub advice: Option<String>,
    /// How long the provider asks to be left alone, if it does.
    pub retry_after: Option<Duration>,
    /// Nobody was asked, because something is missing here. Others may have it.
    pub unasked: bool,
}

impl FetchError {
    /// Before anybody was asked.
    #[must_use]
    pub fn before_asking(self) -> Self {
        Self {
            unasked: true,
            ..self
        }
    }

    /// With what to do next.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self {
            advice: Some(advice.into()),
            ..self
        }
    }
}

/// In one sentence, as a log has it.
impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FetchError {}

/// The kinds of failure, by who can mend them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The provider understood and said no: the client, its secret or its scope is wrong.
    Refused,
    /// The provider could not be reached, did not answer in time, or is broken.
    Unavailable,
    /// The provider asks for fewer requests.
    Throttled,
    /// The provider's answer cannot be used.
    Malformed,
    /// The token is not one that the provider signed for the audience that the configuration names.
    Unverified,
    /// gatepass cannot even ask: its secret file is gone, or the address is not a token endpoint.
    Misconfigured,
    /// gatepass could have asked and did not: the credential's budget is used up, or its fleet
    /// waits after a failure.
    HeldBack,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Refused,
        Self::Unavailable,
        Self::Throttled,
        Self::Malformed,
        Self::Unverified,
        Self::Misconfigured,
        Self::HeldBack,
    ];

    /// A failure of this kind: what failed, on what, and why.
    pub fn because(self, message: impl Into<String>) -> FetchError {
        FetchError {
            kind: self,
            message: message.into(),
            advice: None,
            retry_after: None,
            unasked: false,
        }
    }

    /// The kind as the value of a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Malformed => "malformed",
            Self::Unverified => "unverified",
            Self::Misconfigured => "misconfigured",
            Self::HeldBack => "held_back",
        }
    }

    /// How further attempts are paced.
    pub fn pace(self) -> Pace {
        match self {
            Self::Unavailable | Self::Malformed => Pace::BRISK,
            // The secret file is on this machine and costs nobody anything to look at again.
            Self::Misconfigured => Pace::BRISK,
            // It says itself how long.
            Self::HeldBack => Pace::BRISK,
            Self::Refused | Self::Throttled | Self::Unverified => Pace::PATIENT,
        }
    }
}
