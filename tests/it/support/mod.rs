//! What the tests stand on: a provider and an upstream that do as they are told and remember what
//! they saw, a client, and gatepass itself as a process.

pub mod authorization_server;
pub mod between;
pub mod certificates;
pub mod client;
pub mod collector;
pub mod fleet;
pub mod frames;
pub mod gatepass;
pub mod http2;
pub mod load;
pub mod login;
pub mod nobody;
pub mod strict;
pub mod strict_upstream;
pub mod terminal;
pub mod upstream;
pub mod waiting;
pub mod wire;

pub use authorization_server::{AuthorizationServer, Reply};
pub use client::{get, problem, raw, request};
pub use gatepass::Gatepass;
pub use load::Load;
pub use login::LoggingIn;
pub use nobody::Nobody;
pub use upstream::Upstream;
pub use waiting::{eventually, within};

/// In every secret and every token of the tests, and so in nothing that gatepass may show.
pub const CANARY: &str = "canary";

/// Whether a secret of the tests stands in a text: as it is, or in Base64, as clients show theirs
/// to a provider. Of three characters Base64 makes four, so there are three ways in which it comes
/// out, by how much stands before it.
pub fn shows_a_secret(text: &str) -> bool {
    const IN_BASE64: [&str; 3] = ["Y2FuYXJ5", "NhbmFye", "jYW5hcn"];
    text.contains(CANARY) || IN_BASE64.iter().any(|spelling| text.contains(spelling))
}

/// The client secret of every configuration here: with all that has to be encoded.
pub const CLIENT_SECRET: &str = "canary+s3cret/%:=& 42";

/// A configuration with one credential and one route that covers everything.
pub fn simple_config(provider: &AuthorizationServer, upstream: &Upstream) -> String {
    format!(
        r#"
        [credentials.envase]
        token_endpoint = "{}"
        client_id = "tms"
        client_secret = "{CLIENT_SECRET}"

        [[routes]]
        path = "/"
        upstream = "{}"
        credential = "envase"
        "#,
        provider.token_endpoint(),
        upstream.origin(),
    )
}
