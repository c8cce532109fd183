//! A connection to a Unix socket.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::sleep;

/// Connects as soon as there is room among those that the upstream has yet to accept, however long
/// that takes.
///
/// With TCP it is the kernel that waits. Of a Unix socket it says EAGAIN at once, and a burst that comes
/// while an upstream is started anew would be lost.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// How long to wait for room before looking again.
const PAUSE: Duration = Duration::from_millis(10);
