//! Making one connection: name, TCP, TLS, HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::Origin;
use super::origin::Tls;
use super::resolve::Resolver;
use crate::proxy::body::OutgoingBody;
use crate::tls;

/// Connects within `limit` and returns the sending half; the other half runs as a task of its own
/// until the connection ends.
pub(super) async fn connect(
    origin: &Origin,
    resolver: &Resolver,
    limit: Duration,
) -> Result<SendRequest<OutgoingBody>, ConnectError> {
    let deadline = Instant::now() + limit;
    let in_time = |step| move |_| ConnectError::TooLate { step, limit };

    let addresses = timeout_at(deadline, resolver.addresses())
        .await
        .map_err(in_time("the name look-up"))??;
    let stream = timeout_at(deadline, connect_tcp(&addresses))
        .await
        .map_err(in_time("the TCP connection"))??;
    let Some(Tls {
        config,
        server_name,
    }) = &origin.tls
    else {
        return handshake(stream).await;
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = timeout_at(deadline, connector.connect(server_name.clone(), stream))
        .await
        .map_err(in_time("the TLS handshake"))?
        .map_err(|error| ConnectError::Tls { error })?;
    handshake(stream).await
}

async fn connect_tcp(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut failures = Vec::new();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are written whole; waiting to fill a segment would only delay them.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failures.push(format!("{address}: {error}")),
        }
    }
    Err(ConnectError::Tcp(failures.join(", ")))
}

async fn handshake<T>(stream: T) -> Result<SendRequest<OutgoingBody>, ConnectError>
where
    TokioIo<T>: Read + Write + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectError::Http)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "an upstream connection ended");
        }
    });
    Ok(sender)
}

fn advice(error: &io::Error) -> &'static str {
    tls::advice(&error.to_string()).unwrap_or("check upstream, and what it asks of its clients")
}

/// Which step failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ConnectError {
    #[error("its name cannot be resolved ({0}); check upstream and the DNS")]
    Name(String),
    #[error("no connection ({0}); check upstream, and whether it is up")]
    Tcp(String),
    #[error("{step} was not done after {limit:?}")]
    TooLate { step: &'static str, limit: Duration },
    #[error("the TLS handshake failed ({error}); {}", advice(error))]
    Tls { error: io::Error },
    #[error("the connection could not be used ({0})")]
    Http(#[source] hyper::Error),
}

/// The most that one connection buffers in each direction, and so the largest head of an answer.
/// hyper's own maximum is faster for bulk, and needs 78 MiB for 64 bulk streams where this needs
/// 29 MiB.
const BUFFER: usize = 64 * 1024;
