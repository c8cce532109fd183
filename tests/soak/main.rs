//! What takes minutes: changes, faults and crowds under load. Each test states the promise that it
//! proves and counts the requests that were lost.
//!
//! Run with `tests/soak/run`.

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

mod certificates;
mod server;
mod traffic;

mod changes;
mod clock;
mod crowd;
mod endurance;
mod full_disk;
mod names;
mod stopping;
