//! What the demo tells while it runs.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;

use tokio::time::Instant;

use crate::server::Address;

/// Prints what happens, with the time since the start.
pub(super) struct Narration {
    start: Instant,
}

impl Narration {
    /// Says what there is and what to try.
    pub(super) fn begin(
        proxy: &[Address],
        admin: &Address,
        provider: SocketAddr,
        upstream: SocketAddr,
    ) -> Self {
        let proxy = proxy
            .first()
            .map_or_else(|| "127.0.0.1:8080".into(), ToString::to_string);
        print(&format!(
            "\
gatepass demo: everything runs in this process, and nothing leaves this machine.

  your request --HTTP--> gatepass {proxy} --with a token--> upstream {upstream}
                            |
                            +--client credentials--> authorization server {provider}

Try in another terminal:
  curl http://{proxy}/hello
  curl http://{proxy}/orders -d 'container=MSKU1234565'
  curl http://{admin}/metrics
  curl http://{admin}/readyz

Tokens live for {} seconds here. Ctrl-C stops the demo.

",
            super::authorization_server::LIFETIME.as_secs()
        ));
        Self {
            start: Instant::now(),
        }
    }

    /// Tells one event.
    pub(super) fn tell(&self, who: &str, what: impl Display) {
        let seconds = self.start.elapsed().as_secs_f64();
        print(&format!("{seconds:>8.3} s  {who:<8}  {what}\n"));
    }
}

/// When its reader has gone away (`gatepass demo | head`), nobody is there to show anything to.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}
