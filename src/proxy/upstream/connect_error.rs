//! Why there is no connection to an upstream.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::proxy::metrics::Cause;
use crate::tls;
use crate::wording::{harmless, out_of_descriptors};

/// Which step failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::proxy) enum ConnectError {
    #[error("its name cannot be resolved ({0}); check upstream and the DNS")]
    Name(String),
    #[error("no connection ({0}); {advice}", advice = out_of_descriptors(.0).unwrap_or("check upstream, and whether it is up"))]
    Tcp(String),
    #[error("no connection ({0}); check the path, who may use the socket, and whether it is up")]
    Unix(String),
    #[error("{step}{at} was not done after {limit:?}; {}", step.advice())]
    TooLate {
        step: Step,
        at: String,
        limit: Duration,
    },
    #[error("the TLS handshake failed ({error}); {}", advice(error))]
    Tls { error: String, broken_off: bool },
    #[error("the connection could not be used ({0})")]
    Http(String),
    #[error("{0} connections are in use, which is all that max_connections allows")]
    TooMany(usize),
    #[error(
        "{0} connections to upstreams are open, which is all that the limit of open files has room for; \
         raise it (ulimit -n, LimitNOFILE)"
    )]
    NoDescriptors(usize),
    /// One of several addresses is of no use, and another may be.
    #[error(transparent)]
    ThisAddress(Box<ConnectError>),
}

/// On the way to a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) enum Step {
    Name,
    Tcp,
    Unix,
    Tls,
    Http,
}

impl Step {
    fn advice(self) -> &'static str {
        match self {
            Self::Name => "see whether the DNS servers of /etc/resolv.conf are up and reachable",
            Self::Tcp => "see whether it is up, and whether a firewall drops it on the way",
            Self::Unix => "see whether the upstream is up and takes connections",
            Self::Tls => {
                "what listens there may not speak TLS: check the port, and http:// or https:// in \
                 upstream"
            }
            Self::Http => {
                "what listens there may not speak HTTP/2: check the port, and h2c:// or http:// in \
                 upstream"
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the name look-up",
            Self::Tcp => "the TCP connection",
            Self::Unix => "the connection",
            Self::Tls => "the TLS handshake",
            Self::Http => "the start of HTTP",
        })
    }
}

impl ConnectError {
    pub(super) fn too_late(step: Step, limit: Duration) -> Self {
        let at = String::new();
        Self::TooLate { step, at, limit }
    }

    pub(super) fn tls(error: &io::Error) -> Self {
        Self::Tls {
            // A certificate that is refused is refused again.
            broken_off: error.kind() != io::ErrorKind::InvalidData,
            // The names that a certificate is for are the server's own words.
            error: harmless(&error.to_string()),
        }
    }

    /// The same, with where it happened.
    pub(super) fn at(self, place: &str) -> Self {
        match self {
            Self::TooLate { step, limit, .. } => Self::TooLate {
                step,
                at: format!(" ({place})"),
                limit,
            },
            Self::Tls { error, broken_off } => Self::Tls {
                error: format!("{place}: {error}"),
                broken_off,
            },
            Self::Http(error) => Self::Http(format!("{place}: {error}")),
            other => other,
        }
    }

    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Name(_) => Cause::Dns,
            Self::Tcp(_) | Self::Unix(_) => Cause::Connect,
            Self::TooLate { .. } => Cause::Timeout,
            Self::Tls { .. } => Cause::Tls,
            Self::Http(_) => Cause::Http,
            Self::TooMany(_) | Self::NoDescriptors(_) => Cause::Limit,
            Self::ThisAddress(error) => error.cause(),
        }
    }

    /// After how long the next attempt may well succeed; nothing if it would fail as well.
    pub(in crate::proxy) fn may_pass_after(&self) -> Option<Duration> {
        match self {
            // One of several servers has gone, and another takes its place; or the only one is being
            // started again.
            Self::Tcp(_) | Self::Unix(_) | Self::Http(_) => Some(PAUSE),
            Self::Tls { broken_off, .. } => broken_off.then_some(PAUSE),
            // The next attempt joins the look-up, which goes on: the system's resolver asks again, or
            // asks another server, when as much time has passed as there is for a connection.
            Self::TooLate {
                step: Step::Name, ..
            }
            | Self::ThisAddress(_) => Some(Duration::ZERO),
            Self::Name(_) | Self::TooLate { .. } | Self::TooMany(_) | Self::NoDescriptors(_) => {
                None
            }
        }
    }
}

fn advice(error: &str) -> &'static str {
    tls::advice(error, true).unwrap_or("check upstream, and what it asks of its clients")
}

/// How long after an attempt that failed at once the next one is made.
const PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_late_is_named_with_what_to_do() {
        let late = |step| ConnectError::too_late(step, Duration::from_secs(5));
        let there = |step| late(step).at("10.0.0.1:443, 10.0.0.2:443");
        let told: Vec<_> = [
            late(Step::Name),
            there(Step::Tcp),
            late(Step::Unix),
            there(Step::Tls),
            there(Step::Http),
        ]
        .map(|error| error.to_string())
        .into();
        insta::assert_snapshot!(told.join("\n"), @"
        the name look-up was not done after 5s; see whether the DNS servers of /etc/resolv.conf are up and reachable
        the TCP connection (10.0.0.1:443, 10.0.0.2:443) was not done after 5s; see whether it is up, and whether a firewall drops it on the way
        the connection was not done after 5s; see whether the upstream is up and takes connections
        the TLS handshake (10.0.0.1:443, 10.0.0.2:443) was not done after 5s; what listens there may not speak TLS: check the port, and http:// or https:// in upstream
        the start of HTTP (10.0.0.1:443, 10.0.0.2:443) was not done after 5s; what listens there may not speak HTTP/2: check the port, and h2c:// or http:// in upstream
        ");
    }

    #[test]
    fn the_names_of_a_certificate_steer_no_terminal() {
        let named = "certificate is only valid for DnsName(\"\u{1b}[31m\")";
        let error = io::Error::new(io::ErrorKind::InvalidData, named);
        let told = ConnectError::tls(&error).to_string();
        assert!(told.contains("DnsName(\"\\u{1b}[31m\")"), "{told}");
    }

    /// The look-up goes on, and the system's resolver asks again after 5 s.
    #[test]
    fn a_look_up_that_was_late_is_waited_for_once_more() {
        let late = |step| ConnectError::too_late(step, Duration::from_secs(5));
        assert_eq!(late(Step::Name).may_pass_after(), Some(Duration::ZERO));
        assert_eq!(late(Step::Tcp).may_pass_after(), None);
        assert_eq!(late(Step::Tls).may_pass_after(), None);
    }
}
