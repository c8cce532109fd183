//! TLS handshakes with callers of which no connection came: why, and what to do about it.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use rustls::{CertificateError, Error};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::stream::Peer;

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The caller has shown no certificate.
    NoCertificate,
    /// Its certificate is not valid now.
    ExpiredCertificate,
    /// Its certificate is by somebody who is not trusted.
    UnknownAuthority,
    /// Its certificate cannot be used.
    BadCertificate,
    /// The caller does not take the certificate that it was shown.
    RefusedByCaller,
    /// There is no version or cipher that both speak.
    Incompatible,
    /// What came is no TLS.
    NotTls,
    /// The caller has gone.
    BrokenOff,
    /// It was not over in time.
    TooLate,
}

impl Cause {
    const ALL: [Self; 9] = [
        Self::NoCertificate,
        Self::ExpiredCertificate,
        Self::UnknownAuthority,
        Self::BadCertificate,
        Self::RefusedByCaller,
        Self::Incompatible,
        Self::NotTls,
        Self::BrokenOff,
        Self::TooLate,
    ];

    pub(super) fn of(error: &io::Error) -> Self {
        let error = error.get_ref().and_then(|error| error.downcast_ref());
        match error {
            None => Self::BrokenOff,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(error)) => match error {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::ExpiredCertificate,
                // By an authority of the same name.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::UnknownAuthority
                }
                _ => Self::BadCertificate,
            },
            Some(Error::AlertReceived(_)) => Self::RefusedByCaller,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Self::Incompatible,
            Some(_) => Self::NotTls,
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::ExpiredCertificate => "expired_certificate",
            Self::UnknownAuthority => "unknown_authority",
            Self::BadCertificate => "bad_certificate",
            Self::RefusedByCaller => "refused_by_caller",
            Self::Incompatible => "incompatible",
            Self::NotTls => "not_tls",
            Self::BrokenOff => "broken_off",
            Self::TooLate => "too_late",
        }
    }

    /// Nothing for what scanners and health checks do all day.
    fn advice(self, error: &str) -> Option<&'static str> {
        Some(match self {
            Self::NoCertificate => {
                "let the caller show a certificate that an authority of proxy.tls.client_ca_file has \
                 signed"
            }
            Self::ExpiredCertificate => {
                "the caller's certificate has run out or is not valid yet, or this machine's clock is \
                 wrong"
            }
            Self::UnknownAuthority => {
                "the caller's certificate leads to no authority of proxy.tls.client_ca_file; if there \
                 are certificates between, the caller has to send them, too"
            }
            Self::BadCertificate if error.contains("UnsupportedCertVersion") => {
                "the caller's certificate is of X.509 version 1, which has no extensions to say what \
                 it is for; have it signed anew as version 3 (openssl x509 -req -extfile …)"
            }
            Self::BadCertificate => "the caller's certificate cannot be used; have it made anew",
            Self::RefusedByCaller => {
                "the caller does not take this listener's certificate; let it trust the authority of \
                 proxy.tls.cert_file, and call a name that stands in the certificate"
            }
            Self::Incompatible => "the caller has to speak TLS 1.2 or 1.3",
            Self::NotTls => {
                "what came is no TLS; let the caller use https://, or a listener without tls:"
            }
            Self::BrokenOff | Self::TooLate => return None,
        })
    }
}

/// Counts them, and tells of each cause at once and then once in a while: one caller that is set up
/// wrongly tries again and again.
#[derive(Debug)]
pub(super) struct Failures([Failure; Cause::ALL.len()]);

#[derive(Debug)]
struct Failure {
    cause: Cause,
    counter: IntCounter,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    /// How many there were since.
    since: u64,
}

impl Failures {
    pub(super) fn new(counter: impl Fn(Cause) -> IntCounter) -> Self {
        Self(Cause::ALL.map(|cause| Failure {
            cause,
            counter: counter(cause),
            told: Mutex::default(),
        }))
    }

    pub(super) fn note(&self, peer: Peer, cause: Cause, error: &str) {
        let Some(failure) = self.0.iter().find(|failure| failure.cause == cause) else {
            return;
        };
        failure.counter.inc();
        let cause = cause.label();
        match failure.cause.advice(error).zip(failure.is_to_be_told()) {
            Some((advice, untold)) => warn!(
                caller = %peer,
                cause,
                untold = Some(untold).filter(|untold| *untold > 0),
                "a TLS handshake with a caller failed ({error}); {advice}"
            ),
            None => debug!(caller = %peer, cause, error, "a TLS handshake with a caller failed"),
        }
    }
}

impl Failure {
    /// If it is time: how many there were that nobody was told of.
    fn is_to_be_told(&self) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if told.at.is_some_and(|at| at + PAUSE > now) {
            told.since += 1;
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.since))
    }
}

/// How often each cause is told at most.
const PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_cause_is_told_at_once_and_then_once_a_minute() {
        let failure = Failure {
            cause: Cause::NoCertificate,
            counter: IntCounter::new("a", "b").unwrap(),
            told: Mutex::default(),
        };
        assert_eq!(failure.is_to_be_told(), Some(0));
        assert_eq!(failure.is_to_be_told(), None);
        tokio::time::advance(PAUSE - Duration::from_millis(1)).await;
        assert_eq!(failure.is_to_be_told(), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(failure.is_to_be_told(), Some(2));
        assert_eq!(failure.is_to_be_told(), None);
    }
}
