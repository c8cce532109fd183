//! The way to a server: its name, a connection, TLS.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::report::{Step, Walk};
use crate::tls::{self, Shown};
use crate::token::clock;
use crate::wording::harmless;

/// A server, and which key of the configuration names it.
pub(super) struct Server<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) tls: Option<(&'a Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) key: &'a str,
    pub(super) limit: Duration,
}

impl<'a> Server<'a> {
    /// The server of an address; `None` if none can be called by it.
    pub(super) fn of(
        url: &'a Url,
        tls: &'a Arc<ClientConfig>,
        key: &'a str,
        limit: Duration,
    ) -> Option<Self> {
        let host = url.host_str()?.trim_matches(['[', ']']);
        let tls = match url.scheme() {
            "https" => Some((tls, ServerName::try_from(host.to_owned()).ok()?)),
            _ => None,
        };
        let port = url.port_or_known_default()?;
        Some(Self {
            host,
            port,
            tls,
            key,
            limit,
        })
    }
}

/// What a connection is, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Walks to a server; `None` if that ends on the way.
pub(super) async fn reach(walk: &mut Walk, server: &Server<'_>) -> Option<Box<dyn Stream>> {
    let addresses = walk.take("name", look_up(server)).await?;
    let stream = walk.take("tcp", connect(server, &addresses)).await?;
    let Some((config, name)) = &server.tls else {
        return Some(Box::new(stream));
    };
    let handshake = handshake(server, config, name.clone(), stream, &addresses);
    let (stream, chain) = walk.take("tls", handshake).await?;
    let ends = chain.iter().map(|shown| shown.not_after).min();
    if let Some(ends) = ends.filter(|ends| clock::until(*ends) < SOON) {
        let ends = humantime::format_rfc3339_seconds(ends);
        let said = format!("a certificate of the chain ends on {ends}; have it renewed before");
        walk.note(Step::doubtful("tls", said));
    }
    Some(stream)
}

async fn look_up(server: &Server<'_>) -> Result<(Vec<SocketAddr>, String), String> {
    let Server {
        host,
        port,
        key,
        limit,
        ..
    } = server;
    let advice = format!("look for a slip in {key}, and whether this machine's DNS knows the name");
    let found = timeout(*limit, lookup_host((*host, *port))).await;
    let found = found
        .map_err(|_| {
            format!(
                "the DNS says nothing about {host} within {limit:?}; see whether its servers are up \
                 and reachable (/etc/resolv.conf)"
            )
        })?
        .map_err(|error| format!("{host} cannot be resolved ({error}); {advice}"))?;
    let addresses: Vec<_> = found.collect();
    let shown: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    match shown.as_slice() {
        [] => Err(format!("{host} has no address; {advice}")),
        [only] if only == host => Ok((addresses, format!("{host} is an address"))),
        _ => {
            let said = format!("{host} is {}", shown.join(", "));
            Ok((addresses, said))
        }
    }
}

async fn connect(
    server: &Server<'_>,
    addresses: &[SocketAddr],
) -> Result<(TcpStream, String), String> {
    let mut failures = Vec::new();
    for address in addresses {
        match timeout(server.limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) if failures.is_empty() => {
                return Ok((stream, format!("{address} takes connections")));
            }
            Ok(Ok(stream)) => {
                let said = format!(
                    "{address} takes connections, but not {}",
                    failures.join(", ")
                );
                return Ok((stream, said));
            }
            Ok(Err(error)) => failures.push(format!(
                "{address}: {error}; {}",
                tcp_advice(&error, server.key)
            )),
            Err(_) => failures.push(format!(
                "{address}: nothing within {:?}; a firewall may drop it on the way, or the host is \
                 down",
                server.limit
            )),
        }
    }
    Err(format!("no connection: {}", failures.join("\n")))
}

fn tcp_advice(error: &io::Error, key: &str) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("nothing listens there: check the port in {key}, and whether it is up")
        }
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            "this machine has no way there: check its network, and whether a proxy is needed".into()
        }
        _ => format!("check {key}"),
    }
}

async fn handshake(
    server: &Server<'_>,
    config: &Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
    addresses: &[SocketAddr],
) -> Result<((Box<dyn Stream>, Vec<Shown>), String), String> {
    let connector = TlsConnector::from(Arc::clone(config));
    let connected = timeout(server.limit, connector.connect(name.clone(), stream)).await;
    let error = match connected {
        Ok(Ok(stream)) => {
            let connection = stream.get_ref().1;
            let version = connection.protocol_version();
            let version = version.map_or_else(|| "TLS".into(), |version| format!("{version:?}"));
            let chain = tls::shown(connection.peer_certificates().unwrap_or_default());
            let said = format!("{version}{}", lines(&chain));
            return Ok(((Box::new(stream), chain), said));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => {
            return Err(format!(
                "the TLS handshake was not done after {:?}; whatever listens there may not speak TLS: \
                 check the port, and http:// or https:// in {}",
                server.limit, server.key
            ));
        }
    };
    let advice = tls::advice(&error).unwrap_or("check what it asks of its clients");
    let chain = look_at(server, config, name, addresses).await;
    Err(format!(
        "the TLS handshake failed: {error}; {advice}{}",
        lines(&chain)
    ))
}

/// The chain that a server shows to whoever calls.
async fn look_at(
    server: &Server<'_>,
    config: &ClientConfig,
    name: ServerName<'static>,
    addresses: &[SocketAddr],
) -> Vec<Shown> {
    let (config, onlooker) = tls::onlooker(config);
    let look = async {
        let stream = TcpStream::connect(addresses).await?;
        TlsConnector::from(config).connect(name, stream).await
    };
    // It fails in any case.
    let _ = timeout(server.limit, look).await;
    onlooker.seen()
}

fn lines(chain: &[Shown]) -> String {
    let line = |shown: &Shown| {
        let written = |time| humantime::format_rfc3339_seconds(time);
        let now = UNIX_EPOCH + clock::unix_now();
        let remark = match (now < shown.not_before, now > shown.not_after) {
            (true, _) => ", NOT YET VALID",
            (_, true) => ", RUN OUT",
            _ => "",
        };
        format!(
            "\n\"{}\" by \"{}\", from {} to {}{remark}",
            harmless(&shown.subject),
            harmless(&shown.issuer),
            written(shown.not_before),
            written(shown.not_after),
        )
    };
    chain.iter().map(line).collect()
}

/// The innermost cause, which is the news.
pub(super) fn cause(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Two weeks are enough to have a certificate renewed by hand.
const SOON: Duration = Duration::from_secs(14 * 86_400);
