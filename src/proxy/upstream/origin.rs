//! Where an upstream is.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::tls::{HTTP1, HTTP2};

/// An upstream's address, with all that can be worked out before the first request.
#[derive(Clone)]
pub struct Origin {
    pub(super) host: String,
    pub(super) port: u16,
    /// The Unix socket that is connected to instead.
    pub(super) socket: Option<PathBuf>,
    pub(super) tls: Option<Tls>,
    speaks_http2: bool,
    shown: String,
    authority: Authority,
    host_field: HeaderValue,
    base_path: String,
}

#[derive(Clone)]
pub(super) struct Tls {
    /// For connections that have to speak HTTP/1.1.
    pub(super) http1: Arc<ClientConfig>,
    /// For those that may as well speak HTTP/2.
    pub(super) either: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

impl Tls {
    /// The server chooses among the protocols that are offered to it (RFC 7301).
    fn new(config: &ClientConfig, server_name: ServerName<'static>) -> Self {
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Self {
            http1: offering(&[HTTP1]),
            either: offering(&[HTTP2, HTTP1]),
            server_name,
        }
    }
}

impl Origin {
    /// Takes an address such as `https://api.example/base`. If it is `https`, `tls` is used, and the
    /// certificate has to be for `server_name`, or else for the address's host.
    ///
    /// # Errors
    ///
    /// The address is not one that requests could be sent to.
    pub fn new(
        url: &Url,
        tls: &ClientConfig,
        server_name: Option<ServerName<'static>>,
    ) -> Result<Self, InvalidUpstream> {
        let invalid = |why| InvalidUpstream(why);
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(invalid("that begins with http://, https:// or h2c://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("without user name and password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("without ? and #"));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(invalid("that names a host"));
        };
        let host = match host {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let authority = authority(url).ok_or(invalid("that names a host"))?;
        let host_field = HeaderValue::try_from(&authority)
            .map_err(|_| invalid("whose host can stand in a header"))?;
        let tls = match (secure, server_name) {
            (false, _) => None,
            (true, Some(server_name)) => Some(Tls::new(tls, server_name)),
            (true, None) => {
                let server_name = ServerName::try_from(host.clone())
                    .map_err(|_| invalid("whose host a certificate can name"))?;
                Some(Tls::new(tls, server_name))
            }
        };
        Ok(Self {
            host,
            port,
            socket: None,
            tls,
            speaks_http2: false,
            shown: format!("{}://{authority}", url.scheme()),
            authority: authority
                .parse()
                .map_err(|_| invalid("whose host can stand in an address"))?,
            host_field,
            base_path: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The same host and port, where HTTP/2 is known to be spoken without TLS (RFC 9113 §3.3).
    #[must_use]
    pub fn over_http2(self) -> Self {
        let rest = self.shown.trim_start_matches("http");
        Self {
            shown: format!("h2c{rest}"),
            speaks_http2: true,
            ..self
        }
    }

    /// Where it listens: a host and a port, or a Unix socket.
    pub(in crate::proxy) fn server(&self) -> (String, Option<u16>) {
        match &self.socket {
            Some(socket) => (socket.display().to_string(), None),
            None => (self.host.clone(), Some(self.port)),
        }
    }

    /// A server that listens on a Unix socket. It is called by the name `localhost`, as it has none
    /// of its own.
    pub fn unix(path: PathBuf) -> Self {
        Self {
            host: "localhost".into(),
            port: 80,
            shown: format!("unix:{}", path.display()),
            socket: Some(path),
            tls: None,
            speaks_http2: false,
            authority: Authority::from_static("localhost"),
            host_field: HeaderValue::from_static("localhost"),
            base_path: String::new(),
        }
    }

    /// Whether it speaks HTTP/2 and nothing else.
    pub fn speaks_http2(&self) -> bool {
        self.speaks_http2
    }

    /// The Unix socket that it listens on.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// What stands for it in an address: the host, with the port if it is not the scheme's own.
    pub(in crate::proxy) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The scheme of its addresses.
    pub(in crate::proxy) fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }

    /// Where connections go.
    pub fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// How TLS is spoken there, in HTTP/1.1, and the name that the certificate has to have; nothing
    /// where it is not spoken.
    pub fn tls(&self) -> Option<(&Arc<ClientConfig>, &ServerName<'static>)> {
        let tls = self.tls.as_ref()?;
        Some((&tls.http1, &tls.server_name))
    }

    /// Whether what is sent there can be read on the way.
    pub fn is_plain_beyond_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        let loopback = match address {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host == "localhost",
        };
        self.tls.is_none() && !loopback
    }

    /// Whether an address with this scheme and authority is this upstream's.
    ///
    /// Behind a balancer that ends TLS a server does not know of it, and writes addresses with
    /// `http://` and the host that it was called by. Those are taken for the upstream's, too: where
    /// they lead goes over TLS then. The other way round an `http://` upstream that sends its callers
    /// to `https://` would send them in a circle.
    pub(in crate::proxy) fn is_at(&self, scheme: &str, authority: &Authority) -> bool {
        let usual_port = match scheme {
            scheme if scheme.eq_ignore_ascii_case("https") => 443,
            scheme if scheme.eq_ignore_ascii_case("http") => 80,
            _ => return false,
        };
        let port = authority.port_u16().unwrap_or(usual_port);
        let is_place = match (usual_port, &self.tls) {
            (443, Some(_)) | (80, None) => port == self.port,
            (80, Some(_)) => port == self.port || (port, self.port) == (80, 443),
            _ => false,
        };
        is_place
            && authority
                .host()
                .trim_matches(['[', ']'])
                .eq_ignore_ascii_case(&self.host)
            && !authority.as_str().contains('@')
    }

    /// The value of the `Host` field: the name, with the port if it is not the scheme's own.
    pub fn host_field(&self) -> &HeaderValue {
        &self.host_field
    }

    /// The path that is put in front of every request's; empty or without a slash at its end.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }
}

fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// Scheme, host and port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({}{})", self.shown, self.base_path)
    }
}

/// An address that cannot be an upstream; holds how it would have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address such as https://api.example, {0}")]
pub struct InvalidUpstream(&'static str);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Trust, client_config};

    fn origin(url: &str) -> Result<Origin, String> {
        let tls = client_config(&Trust::Platform, None).unwrap();
        Origin::new(&url.parse().unwrap(), &tls, None).map_err(|error| error.to_string())
    }

    #[test]
    fn host_field_names_the_port_only_where_it_differs() {
        for (url, field) in [
            ("https://api.example", "api.example"),
            ("https://api.example:443/", "api.example"),
            ("http://api.example:80", "api.example"),
            ("http://api.example:443", "api.example:443"),
            ("http://[::1]:8080/base/", "[::1]:8080"),
        ] {
            assert_eq!(origin(url).unwrap().host_field(), field);
        }
        let origin = origin("http://[::1]:8080/base/").unwrap();
        assert_eq!((origin.host.as_str(), origin.base_path()), ("::1", "/base"));
    }

    #[test]
    fn addresses_of_a_server_that_knows_nothing_of_its_tls_are_its_own() {
        for (url, address, is_its_own) in [
            ("https://api.example", "https://api.example", true),
            ("https://api.example", "HTTPS://API.example:443", true),
            ("https://api.example", "http://api.example", true),
            ("https://api.example", "http://api.example:443", true),
            ("https://api.example", "http://api.example:8080", false),
            ("https://api.example", "http://api.example.other", false),
            ("https://api.example", "http://me@api.example", false),
            ("https://api.example", "ftp://api.example", false),
            ("https://api.example:8443", "http://api.example:8443", true),
            ("https://api.example:8443", "http://api.example", false),
            ("http://api.example", "http://api.example:80", true),
            ("http://api.example", "https://api.example", false),
            ("http://api.example:443", "https://api.example", false),
            ("http://[::1]", "http://[::1]:80", true),
        ] {
            let (scheme, authority) = address.split_once("://").unwrap();
            let authority = authority.parse().unwrap();
            let is_at = origin(url).unwrap().is_at(scheme, &authority);
            assert_eq!(is_at, is_its_own, "{address} of {url}");
        }
    }

    #[test]
    fn upstreams_are_shown_as_they_are_written() {
        let origin = origin("http://api.example:8080/base").unwrap();
        assert_eq!(origin.to_string(), "http://api.example:8080");
        assert_eq!(origin.over_http2().to_string(), "h2c://api.example:8080");
        let socket = Origin::unix("/run/app.sock".into());
        assert_eq!(socket.to_string(), "unix:/run/app.sock");
    }

    #[test]
    fn what_cannot_be_an_upstream_is_refused() {
        for url in [
            "ftp://api.example",
            "https://user:secret@api.example",
            "https://api.example/?key=1",
            "https://api.example/#top",
            "mailto:someone",
        ] {
            let error = origin(url).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
