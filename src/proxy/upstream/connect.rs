//! Making one connection: name, TCP, TLS, HTTP.

use std::io;
use std::net::SocketAddr;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::Origin;
use super::origin::Tls;
use crate::proxy::body::OutgoingBody;

/// Connects and returns the sending half; the other half runs as a task of its own until the
/// connection ends.
pub(super) async fn connect(origin: &Origin) -> Result<SendRequest<OutgoingBody>, ConnectError> {
    let stream = connect_tcp(origin).await?;
    match &origin.tls {
        None => handshake(stream).await,
        Some(Tls {
            config,
            server_name,
        }) => {
            let connector = TlsConnector::from(std::sync::Arc::clone(config));
            let stream = connector
                .connect(server_name.clone(), stream)
                .await
                .map_err(ConnectError::Tls)?;
            handshake(stream).await
        }
    }
}

async fn connect_tcp(origin: &Origin) -> Result<TcpStream, ConnectError> {
    let host = origin.host.as_str();
    let addresses = lookup_host((host, origin.port))
        .await
        .map_err(|error| ConnectError::Name {
            host: host.to_owned(),
            error,
        })?;
    let mut last = ConnectError::Name {
        host: host.to_owned(),
        error: io::Error::other("it has no address"),
    };
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are written whole; waiting to fill a segment would only delay them.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = ConnectError::Tcp { address, error },
        }
    }
    Err(last)
}

async fn handshake<T>(stream: T) -> Result<SendRequest<OutgoingBody>, ConnectError>
where
    TokioIo<T>: Read + Write + Unpin + 'static,
{
    let (sender, connection) = Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectError::Http)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            debug!(%error, "an upstream connection ended");
        }
    });
    Ok(sender)
}

/// Which step failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ConnectError {
    #[error("the name {host} cannot be resolved ({error}); check upstream and the DNS")]
    Name { host: String, error: io::Error },
    #[error("no connection to {address} ({error}); check upstream, and whether it is up")]
    Tcp {
        address: SocketAddr,
        error: io::Error,
    },
    #[error(
        "the TLS handshake failed ({0}); if the upstream has a private certificate authority, \
         name its PEM file with tls.ca_file"
    )]
    Tls(#[source] io::Error),
    #[error("the connection could not be used ({0})")]
    Http(#[source] hyper::Error),
}

/// The most that one connection buffers in each direction, and so the largest head of an answer.
/// hyper's own maximum is faster for bulk, and needs 78 MiB for 64 bulk streams where this needs
/// 29 MiB.
const BUFFER: usize = 64 * 1024;
