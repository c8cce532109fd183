//! gatepass with callers that others wrote: curl, wget, Python's requests and httpx, Node's fetch,
//! Java's HttpURLConnection and HttpClient.
//!
//! Each does the same twice: with the upstream itself, and through gatepass. What it gets must be
//! the same, and what the upstream sees must be the same but for what gatepass says that it changes.
//! So nothing here has to know what a client sends of its own accord.

mod bench;
mod command_lines;
mod libraries;
mod upstream;
mod websocket;
