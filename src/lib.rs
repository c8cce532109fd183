//! gatepass stands beside an application that cannot do OAuth. The application calls gatepass in
//! plain HTTP; gatepass adds the pass (`Authorization: Bearer …`) and forwards the call over TLS.
//! The token is fetched and kept fresh in the background, so no request waits for an identity
//! provider while a valid token exists.
//!
//! # Two planes
//!
//! The *control plane* is one current-thread runtime on the main thread: token refreshers, the
//! admin listener, signals. It may be slow; it must never die. The *data plane* is one worker
//! thread or more, each a current-thread runtime with its own upstream connections. It reads what
//! the control plane publishes and forwards; on the way of an ordinary request there is no lock, no
//! clock reading of its own for the token, and no metric label look-up. The planes meet in cells
//! that are swapped whole: one for the token of each credential ([`token::cell`]), and one for the
//! routes, which a reload replaces ([`app`]).
//!
//! # A token's journey
//!
//! A secret ([`oauth::Secret`]) becomes a request ([`oauth::token_request`]), which goes to the
//! token endpoint ([`oauth::transport`]); the time is taken *before* it is sent. The answer is
//! checked ([`oauth::token_response`]: type, characters, life) and becomes a
//! [`token::AccessToken`], whose header value is built once and marked sensitive. The
//! [`token::refresher`] publishes it, sleeps until [`token::schedule::refresh_after`], and asks
//! again. When that fails the old token stays until its life is over; then the refresher takes it
//! away. A worker compares the end with the time that it has read for the request anyway, so that
//! an expired token is not sent even if the control plane stalls.
//!
//! # A request's journey
//!
//! [`server`] accepts the connection and reads the head within its limits. [`proxy`] finds the
//! route, puts the route's token in place of whatever the caller sent, removes what concerns only
//! the caller's connection (RFC 9110 §7.6.1), takes a kept upstream connection or makes one, and
//! streams both bodies. One guard records the outcome, however the request ends. A request that
//! cannot have its token is answered with 503, a problem document and `Retry-After`; it is never
//! forwarded without.
//!
//! # Rooms
//!
//! A room imports only from floors below its own; `tests/it/floors.rs` holds the code to it.
//!
//! | floor | rooms |
//! |---|---|
//! | 6 | [`cli`] and the command's `main` |
//! | 5 | [`app`]: the composition root, where the rooms meet |
//! | 4 | [`config`], [`admin`] |
//! | 3 | [`oauth`], [`proxy`] |
//! | 2 | [`server`], [`store`], [`traces`] |
//! | 1 | [`token`], [`telemetry`], [`tls`], [`watch`] |
//! | 0 | [`readiness`], [`drain`], [`gathering`], [`memory`], [`metric`], [`ordinary_file`], [`signal`], [`systemd`], [`wording`], [`runtime`] |

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod drain;
pub mod gathering;
pub mod memory;
pub mod metric;
pub mod oauth;
pub mod ordinary_file;
pub mod proxy;
pub mod readiness;
pub mod runtime;
pub mod server;
pub mod signal;
pub mod store;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod traces;
pub mod watch;
pub mod wording;
