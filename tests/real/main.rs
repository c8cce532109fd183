//! gatepass with servers that others wrote (npm's oidc-provider and Firebase's Auth emulator, PyPI's
//! django-oauth-toolkit, Debian's nginx and redis-server), Debian's Prometheus, PyPI's Rotel, and with clients that
//! others wrote, see `clients.rs`.
//!
//! Run with `tests/real/run`, which installs them. What is missing fails the test that needs it,
//! and that says what to install.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop right there"
)]
#![allow(clippy::print_stdout, reason = "a run is read for its figures")]
#![allow(
    unreachable_pub,
    missing_docs,
    dead_code,
    unused_imports,
    reason = "support is shared with tests/it, which needs more of it"
)]

#[path = "../it/support/mod.rs"]
mod support;

// The servers.
mod auth_emulator;
mod django;
mod nginx;
mod oidc_provider;
mod redis_server;
mod server;
mod waiting;

// The tests.
mod client_authentication;
mod clients;
mod fleet;
mod identity_toolkit;
mod json_body;
mod login;
mod password;
mod prometheus;
mod rollover;
mod rotation;
mod status_page;
mod traces;
mod verification;
