//! Bytes by hand on both sides of gatepass, where a library would tidy up the evidence.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::client::PATIENCE;
use super::{AuthorizationServer, Gatepass, Upstream, simple_config};

/// A caller and an upstream, both by hand, with gatepass between them.
pub struct Wire {
    pub gatepass: Gatepass,
    upstream: TcpListener,
    _provider: AuthorizationServer,
}

impl Wire {
    /// With these keys of the route.
    pub async fn start(route_keys: &str) -> Self {
        Self::start_with("", route_keys).await
    }

    /// With these keys at the top, and these of the route.
    pub async fn start_with(proxy_keys: &str, route_keys: &str) -> Self {
        Self::start_changed(|config| format!("{proxy_keys}\n{config}\n{route_keys}")).await
    }

    /// With these keys of the credential, and these of the route.
    pub async fn start_with_credential(credential_keys: &str, route_keys: &str) -> Self {
        let keys = format!("{credential_keys}\nclient_id");
        Self::start_changed(|config| config.replace("client_id", &keys) + route_keys).await
    }

    /// With this path of the route, this base path of the upstream, and these keys of the route.
    pub async fn start_at(path: &str, base: &str, route_keys: &str) -> Self {
        Self::start_changed(|config| {
            let (before, upstream) = config.split_once("upstream = \"").unwrap();
            let (origin, after) = upstream.split_once('"').unwrap();
            let before = before.replace("path = \"/\"", &format!("path = \"{path}\""));
            format!("{before}upstream = \"{origin}{base}\"{after}\n{route_keys}")
        })
        .await
    }

    async fn start_changed(change: impl FnOnce(String) -> String) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = AuthorizationServer::start();
        let other = Upstream::start().await;
        let origin = format!("http://{}", upstream.local_addr().unwrap());
        let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
        let gatepass = Gatepass::start(&change(config)).ready().await;
        Self {
            gatepass,
            upstream,
            _provider: provider,
        }
    }

    /// A caller that has sent these bytes.
    pub async fn call(&self, bytes: &[u8]) -> TcpStream {
        let mut caller = TcpStream::connect(self.gatepass.proxy()).await.unwrap();
        caller.write_all(bytes).await.unwrap();
        caller
    }

    /// A request that has reached the upstream, with nothing answered yet.
    pub async fn exchange(&self, request: &str) -> (TcpStream, TcpStream) {
        let caller = self.call(request.as_bytes()).await;
        let mut upstream = self.accept().await;
        read_until(&mut upstream, "\r\n\r\n").await;
        (caller, upstream)
    }

    /// The next connection that gatepass makes.
    pub async fn accept(&self) -> TcpStream {
        timeout(PATIENCE, self.upstream.accept())
            .await
            .unwrap()
            .unwrap()
            .0
    }
}

pub const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Reads until something has come.
pub async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&bytes).contains(wanted) {
            assert_ne!(
                stream.read_buf(&mut bytes).await.unwrap(),
                0,
                "ended before {wanted:?}"
            );
        }
    };
    let in_time = timeout(PATIENCE, reading).await;
    let text = String::from_utf8(bytes).unwrap();
    in_time.unwrap_or_else(|_| panic!("{wanted:?} did not come in time: {text:?}"));
    text
}
