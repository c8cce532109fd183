//! gatepass as its users meet it: real processes, real sockets, one file per behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop right there"
)]
#![allow(
    unreachable_pub,
    missing_docs,
    reason = "a test binary has no outside; pub says what support offers to the tests"
)]

mod support;

mod access_log;
mod adaptation;
mod admin;
mod admission;
mod bounds;
mod bulk;
mod cli;
mod client_assertions;
mod closing_upstream;
mod config_mistakes;
mod config_mistakes_of_details;
mod config_mistakes_of_grants;
mod config_mistakes_of_listeners;
mod config_mistakes_of_sources;
mod config_mistakes_of_stores;
mod deaf_upstreams;
mod demo;
mod descriptors;
mod discovery;
mod doctor;
mod documentation;
mod documentation_pages;
mod documentation_schema;
mod documentation_tables;
mod durations;
mod event_stream;
mod events;
mod every_message;
mod exec;
mod expectation;
mod faults;
mod first_minute;
mod first_token;
mod fleet;
mod floors;
mod flow_control;
mod forwarding;
mod hardening;
mod http2;
mod http2_upstreams;
mod hung_disks;
mod identity_systems;
mod init;
mod limits;
mod listener_metrics;
mod listeners;
mod log_messages;
mod log_pipe;
mod login;
mod old_upstreams;
mod outage;
mod panics;
mod profiles;
mod provider_faults;
mod quoted;
mod refresh;
mod refusals;
mod reload;
mod reload_files;
mod request_shape;
mod resting;
mod rolled_upstreams;
mod scrape;
mod secrecy;
mod secrecy_http2;
mod secret_rotation;
mod service_manager;
mod sessions;
mod simulated_fleet;
mod smuggling;
mod smuggling_http2;
mod status;
mod status_command;
mod status_page;
mod stopping;
mod streaming;
mod threads;
mod token_command;
mod token_file;
mod traces;
mod typical_mistakes;
mod upstream_faults;
mod upstream_metrics;
mod upstream_tls;
mod vanished_upstreams;
mod variables_of_bytes;
mod verification;
mod waiting;
mod websocket;
mod withdrawn;
mod without_a_file;
