//! The way to a server: its name, a connection, TLS.

use std::env;
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

use super::report::{Fault, Step, Walk};
use crate::oauth::transport::is_loopback;
use crate::tls::{self, Shown};
use crate::token::clock;
use crate::wording::harmless;

/// A server, and which key of the configuration names it.
pub(super) struct Server<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) tls: Option<(&'a Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) key: &'a str,
    /// Whether it may be spoken to without TLS.
    pub(super) may_be_plain: bool,
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
            may_be_plain: !IS_OF_PROVIDER.contains(&key) || is_loopback(url),
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
    if let Some(what) = outdated(&chain) {
        let said = "a certificate of the chain has run out, and whoever looks at it turns away";
        walk.note(Step::doubtful(
            "tls",
            Fault::new(said, format!("have {what}")),
        ));
        return Some(stream);
    }
    let ends = chain.iter().map(|shown| shown.not_after).min();
    if let Some(ends) = ends.filter(|ends| clock::until(*ends) < SOON) {
        let ends = humantime::format_rfc3339_seconds(ends);
        let said = format!("a certificate of the chain ends on {ends}");
        walk.note(Step::doubtful(
            "tls",
            Fault::new(said, "have it renewed before"),
        ));
    }
    Some(stream)
}

async fn look_up(server: &Server<'_>) -> Result<(Vec<SocketAddr>, String), Fault> {
    let Server {
        host,
        port,
        key,
        limit,
        ..
    } = server;
    let proxy = unheeded_proxy(key);
    let found = timeout(*limit, lookup_host((*host, *port))).await;
    let found = found
        .map_err(|_| {
            Fault::new(
                format!("the DNS says nothing about {host} within {limit:?}"),
                format!("see whether its servers are up and reachable (/etc/resolv.conf){proxy}"),
            )
        })?
        .map_err(|error| {
            let said = format!("{host} cannot be resolved ({error})");
            Fault::new(said, name_advice(error.kind(), key) + &proxy)
        })?;
    let addresses: Vec<_> = found.collect();
    let shown: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    match shown.as_slice() {
        [] => {
            let advice = name_advice(ErrorKind::NotFound, key);
            Err(Fault::new(format!("{host} has no address"), advice))
        }
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
) -> Result<(TcpStream, String), Fault> {
    let mut failures = Vec::new();
    let mut next = format!("check {}", server.key);
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
            Ok(Err(error)) => {
                next = tcp_advice(&error, server.key);
                failures.push(format!("{address}: {error}"));
            }
            Err(_) => {
                next =
                    "see whether the host is up, and whether a firewall drops it on the way".into();
                failures.push(format!("{address}: nothing within {:?}", server.limit));
            }
        }
    }
    Err(Fault::new(
        format!("no connection: {}", failures.join("\n")),
        next + &unheeded_proxy(server.key),
    ))
}

/// What is to be known where other programs would get on by the environment's proxy. The value is not
/// shown: a password may stand in it.
fn unheeded_proxy(key: &str) -> String {
    let is_set = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let Some(name) = ["HTTPS_PROXY", "https_proxy"].into_iter().find(is_set) else {
        return String::new();
    };
    match key {
        _ if IS_OF_PROVIDER.contains(&key) => {
            format!("; {name} is set and not looked at: write egress_proxy for the token endpoint")
        }
        "upstream" => format!("; {name} is set and not looked at: routes go direct"),
        _ => String::new(),
    }
}

/// What to do about a name. glibc calls busy what /etc/nsswitch.conf leaves it no way to.
fn name_advice(failed: ErrorKind, key: &str) -> String {
    match failed {
        ErrorKind::ResourceBusy => {
            "see that the line hosts: of /etc/nsswitch.conf names files and \
                                    dns: it names nothing that is there"
                .into()
        }
        _ => format!("look for a slip in {key}, and whether this machine's DNS knows the name"),
    }
}

fn tcp_advice(error: &io::Error, key: &str) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("check the port in {key}, and whether it is up: nothing listens there")
        }
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            "check this machine's network, and whether a proxy is needed: it has no way there"
                .into()
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
) -> Result<((Box<dyn Stream>, Vec<Shown>), String), Fault> {
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
        Ok(Err(error)) => harmless(&error.to_string()),
        Err(_) => {
            return Err(Fault::new(
                format!(
                    "the TLS handshake was not done after {:?}: whatever listens there may not speak TLS",
                    server.limit
                ),
                format!("check the port, and http:// or https:// in {}", server.key),
            ));
        }
    };
    let chain = look_at(server, config, name, addresses).await;
    let next = match (outdated(&chain), breaks_off(&chain, &error)) {
        (Some(said), _) => format!("have {said}, unless this machine's clock is wrong"),
        (None, Some(said)) => said,
        (None, None) => tls::advice(&error, server.may_be_plain)
            .unwrap_or("check what it asks of its clients")
            .into(),
    };
    Err(Fault::new(
        format!("the TLS handshake failed: {error}{}", lines(&chain)),
        next,
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

/// The certificate of a chain that has run out, by its name and whose it is; the one that is nearest
/// to the root, because it takes the others with it.
fn outdated(chain: &[Shown]) -> Option<String> {
    let now = UNIX_EPOCH + clock::unix_now();
    let position = chain.iter().rposition(|shown| now > shown.not_after)?;
    let shown = chain.get(position)?;
    let (subject, issuer) = (harmless(&shown.subject), harmless(&shown.issuer));
    Some(match position {
        0 => format!("the server's own certificate \"{subject}\" renewed by \"{issuer}\""),
        _ if subject == issuer => format!(
            "the server leave out the authority \"{subject}\", whose certificate has run out, or \
             show that of its successor"
        ),
        _ => format!(
            "the server show a renewed certificate of the authority \"{subject}\", by \"{issuer}\""
        ),
    })
}

/// What to do where a server shows no certificate but its own, and nobody here knows who signed it. Browsers
/// fetch what is missing, and hide that it is.
fn breaks_off(chain: &[Shown], error: &str) -> Option<String> {
    let [own] = chain else {
        return None;
    };
    let is_unknown = error.contains("UnknownIssuer") && own.subject != own.issuer;
    let issuer = harmless(&own.issuer);
    is_unknown.then(|| {
        format!(
            "if \"{issuer}\" is a private authority, name its PEM file with tls.ca_file; if it is one in \
             between, have the server show its certificate as well"
        )
    })
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

/// Keys of addresses that have to begin with https:// unless they are on this machine.
const IS_OF_PROVIDER: [&str; 2] = ["token_endpoint", "issuer"];

pub(super) const SET_THE_CLOCK: &str = "set this machine's clock (timedatectl set-ntp true)";

/// Two weeks are enough to have a certificate renewed by hand.
const SOON: Duration = Duration::from_secs(14 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_resolved_has_an_advice_that_fits() {
        let told =
            [ErrorKind::ResourceBusy, ErrorKind::Other].map(|kind| name_advice(kind, "upstream"));
        insta::assert_snapshot!(told.join("\n"), @r"
        see that the line hosts: of /etc/nsswitch.conf names files and dns: it names nothing that is there
        look for a slip in upstream, and whether this machine's DNS knows the name
        ");
    }

    #[test]
    fn a_server_that_shows_no_certificate_but_its_own_is_told_what_may_be_missing() {
        let shown = |subject: &str, issuer: &str| Shown {
            subject: subject.into(),
            issuer: issuer.into(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH,
        };
        let own = shown("id.example", "Between");
        let unknown = "invalid peer certificate: UnknownIssuer";
        insta::assert_snapshot!(breaks_off(std::slice::from_ref(&own), unknown).unwrap(), @r#"if "Between" is a private authority, name its PEM file with tls.ca_file; if it is one in between, have the server show its certificate as well"#);
        assert_eq!(
            breaks_off(&[own.clone(), shown("Between", "Root")], unknown),
            None
        );
        assert_eq!(breaks_off(&[shown("self", "self")], unknown), None);
        assert_eq!(
            breaks_off(&[own], "invalid peer certificate: Expired"),
            None
        );
    }

    #[test]
    fn a_failed_connection_has_an_advice_that_fits() {
        let advice = |kind: ErrorKind| tcp_advice(&kind.into(), "upstream");
        let told = [
            ErrorKind::ConnectionRefused,
            // A host with IPv6 on a machine without.
            ErrorKind::NetworkUnreachable,
            ErrorKind::HostUnreachable,
            ErrorKind::ConnectionReset,
        ];
        insta::assert_snapshot!(told.map(advice).join("\n"), @r"
        check the port in upstream, and whether it is up: nothing listens there
        check this machine's network, and whether a proxy is needed: it has no way there
        check this machine's network, and whether a proxy is needed: it has no way there
        check upstream
        ");
    }
}
