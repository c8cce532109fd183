//! gatepass with callers that others wrote: curl, wget, Python's requests, httpx and grpcio, Node's
//! fetch, Java's HttpURLConnection and HttpClient; and WebSocket by libraries of Python and Node.
//!
//! Each does the same twice: with the upstream itself, and through gatepass; those that can do so in
//! HTTP/2 as well, in the clear and over TLS. What it gets must be the same, and what the upstream
//! sees must be the same but for what gatepass says that it changes. So nothing here has to know what
//! a client sends of its own accord.

mod bench;
mod command_lines;
mod grpc;
mod libraries;
mod upstream;
mod websocket;
