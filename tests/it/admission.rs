//! Which requests are taken at all, and to which route they belong.

use serde_json::Value;

use crate::support::{AuthorizationServer, Gatepass, Upstream, raw};

struct Stage {
    gatepass: Gatepass,
    _provider: AuthorizationServer,
    upstream: Upstream,
}

/// With routes of these keys, all to the same upstream.
async fn start(proxy: &str, routes: &[&str]) -> Stage {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let mut config = format!(
        "[proxy]\n{proxy}\n[credentials.a]\ntoken_endpoint = \"{}\"\nclient_id = \"tms\"\n\
         client_secret = \"canary\"\n",
        provider.token_endpoint()
    );
    for route in routes {
        let credential = match route.contains("credential") {
            true => "",
            false => "credential = \"a\"\n",
        };
        let origin = upstream.origin();
        config += &format!("[[routes]]\nupstream = \"{origin}\"\n{credential}{route}\n");
    }
    Stage {
        gatepass: Gatepass::start(&config).ready().await,
        _provider: provider,
        upstream,
    }
}

impl Stage {
    /// The status and, if gatepass answered itself, the reason and the detail.
    async fn send(&self, head: &str) -> (u16, String, String) {
        let request = format!("{head}\r\nConnection: close\r\n\r\n");
        let answer = raw(self.gatepass.proxy(), request, |_| false).await;
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        (status, text("reason"), text("detail"))
    }

    async fn status(&self, head: &str) -> u16 {
        self.send(head).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_valid_host() {
    let stage = start("", &["path = \"/\""]).await;
    for good in [
        "Host: localhost",
        "Host: LOCALHOST:8080",
        "Host: 127.0.0.1",
        "Host: [::1]:80",
        "Host: localhost:",
    ] {
        let status = stage.status(&format!("GET / HTTP/1.1\r\n{good}")).await;
        assert_eq!(status, 200, "{good}");
    }
    assert_eq!(stage.status("GET / HTTP/1.0\r\nX: y").await, 200);
    let seen = stage.upstream.requests();
    for bad in [
        "X: y",
        "Host:",
        "Host: localhost\r\nHost: localhost",
        "Host: user@localhost",
        "Host: localhost:port",
        "Host: localhost:99999",
        "Host: local host",
        "Host: localhost/path",
        "Host: localhost, evil",
    ] {
        let (status, reason, _) = stage.send(&format!("GET / HTTP/1.1\r\n{bad}")).await;
        assert_eq!((status, reason.as_str()), (400, "bad_host"), "{bad}");
    }
    assert_eq!(stage.upstream.requests(), seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_served_is_refused() {
    let stage = start("names = \"Gatepass.Local\"", &["path = \"/\""]).await;
    assert_eq!(
        stage.status("GET / HTTP/1.1\r\nHost: gatepass.local").await,
        200
    );
    let (status, reason, detail) = stage.send("GET / HTTP/1.1\r\nHost: evil.example").await;
    assert_eq!((status, reason.as_str()), (421, "unknown_host"));
    insta::assert_snapshot!(detail);
    // Whoever takes gatepass for a proxy cannot call it by another name.
    let proxied = "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example";
    let (status, reason, detail) = stage.send(proxied).await;
    assert_eq!((status, reason.as_str()), (421, "unknown_host"));
    insta::assert_snapshot!("a_name_that_no_proxy_is_for", detail);
    assert_eq!(stage.upstream.requests(), 1);
}

/// An application that sends everything through its proxy sends it what is for its neighbours, too:
/// they are no names of gatepass's, and the upstream is not to get it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_another_port_of_this_machine_is_refused() {
    let stage = start("", &["path = \"/\""]).await;
    let port = stage.gatepass.proxy().port();
    for neighbour in ["127.0.0.1:9", "localhost", "[::1]:80"] {
        let head = format!("GET http://{neighbour}/a HTTP/1.1\r\nHost: {neighbour}");
        let (status, reason, detail) = stage.send(&head).await;
        assert_eq!((status, reason.as_str()), (421, "unknown_host"), "{head}");
        if neighbour == "localhost" {
            insta::assert_snapshot!(detail.replace(&port.to_string(), "[port]"));
        }
    }
    assert_eq!(stage.upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_of_other_sites_are_refused() {
    let stage = start(
        "allowed_origins = [\"http://localhost:3000\"]",
        &["path = \"/\""],
    )
    .await;
    let with = |method: &str, fields: &str| {
        format!("{method} / HTTP/1.1\r\nHost: localhost:8080\r\n{fields}")
    };
    for good in [
        "Origin: http://localhost:3000",
        "Origin: http://localhost:3000\r\nSec-Fetch-Site: cross-site",
        "Origin: http://localhost:8080\r\nSec-Fetch-Site: same-origin",
        "Sec-Fetch-Site: none",
    ] {
        assert_eq!(stage.status(&with("GET", good)).await, 200, "{good}");
    }
    let preflight = "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST";
    for (method, bad) in [
        ("POST", "Origin: http://evil.example"),
        ("GET", "Origin: null"),
        ("GET", "Origin: https://localhost:8080"),
        ("GET", "Origin: http://localhost"),
        ("GET", "Sec-Fetch-Site: cross-site"),
        ("GET", "Sec-Fetch-Site: same-site"),
        ("OPTIONS", preflight),
    ] {
        let (status, reason, _) = stage.send(&with(method, bad)).await;
        assert_eq!((status, reason.as_str()), (403, "cross_site"), "{bad}");
    }
    assert_eq!(stage.upstream.requests(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_paths_or_addresses_of_served_hosts() {
    let stage = start(
        "",
        &["path = \"/\"\nhost = \"api.example\"", "path = \"/own\""],
    )
    .await;
    let port = stage.gatepass.proxy().port();
    let own = format!("GET http://localhost:{port}/own HTTP/1.1\r\nHost: localhost:{port}");
    for good in [
        "GET http://api.example/a?b HTTP/1.1\r\nHost: something.else",
        "GET HTTP://API.example:80/a HTTP/1.1\r\nHost: api.example",
        "GET http://api.example HTTP/1.1\r\nHost: api.example",
        own.as_str(),
        "GET /a HTTP/1.1\r\nHost: api.example",
    ] {
        assert_eq!(stage.status(good).await, 200, "{good}");
    }
    let seen = stage.upstream.seen();
    let targets: Vec<_> = seen.iter().map(|seen| seen.target.as_str()).collect();
    assert_eq!(targets, ["/a?b", "/a", "/", "/own", "/a"]);
    for (head, status, reason) in [
        (
            "GET https://api.example/ HTTP/1.1\r\nHost: api.example",
            400,
            "bad_target",
        ),
        (
            "GET http://u:p@api.example/ HTTP/1.1\r\nHost: api.example",
            400,
            "bad_target",
        ),
        (
            "GET http://other.example/ HTTP/1.1\r\nHost: api.example",
            421,
            "unknown_host",
        ),
        (
            "GET api.example HTTP/1.1\r\nHost: api.example",
            400,
            "bad_target",
        ),
        ("GET * HTTP/1.1\r\nHost: api.example", 400, "bad_target"),
        (
            "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example",
            405,
            "method_refused",
        ),
    ] {
        let (got, why, _) = stage.send(head).await;
        assert_eq!((got, why.as_str()), (status, reason), "{head}");
    }
    assert_eq!(stage.upstream.requests(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_specific_route_wins() {
    let stage = start(
        "",
        &[
            "path = \"/\"\nname = \"all\"\nheaders = { x-route = \"all\" }",
            "path = \"/a\"\nname = \"a\"\nheaders = { x-route = \"a\" }",
            "path = \"/a\"\nmethods = [\"POST\", \"PUT\"]\nname = \"post\"\nheaders = { x-route = \"post\" }",
            "path = \"/\"\nhost = [\"one.example\", \"two.example\"]\nname = \"host\"\nheaders = { x-route = \"host\" }",
            "path = \"/only\"\nhost = \"three.example\"\nmethods = \"DELETE\"\nname = \"delete\"",
        ],
    )
    .await;
    for (request, route) in [
        ("GET /x HTTP/1.1\r\nHost: localhost", "all"),
        ("GET /a HTTP/1.1\r\nHost: localhost", "a"),
        (
            "POST /a/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0",
            "post",
        ),
        ("GET /a HTTP/1.1\r\nHost: two.example:80", "host"),
    ] {
        assert_eq!(stage.status(request).await, 200, "{request}");
        assert_eq!(stage.upstream.last().all("x-route"), [route], "{request}");
    }
    let (status, _, detail) = stage
        .send("GET /only HTTP/1.1\r\nHost: three.example")
        .await;
    assert_eq!(status, 200, "the route for everything takes it: {detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_told_which_would_be_taken() {
    let stage = start("", &["path = \"/a\"\nmethods = [\"GET\", \"HEAD\"]"]).await;
    let request = "DELETE /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(stage.gatepass.proxy(), request, |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
    let status = "\r\nproxy-status: gatepass; error=http_request_denied\r\n";
    assert!(answer.contains(status), "{answer}");
    assert!(
        answer.contains("no route takes DELETE for this path"),
        "{answer}"
    );
}

/// Another route may have another credential, or none.
#[tokio::test(flavor = "multi_thread")]
async fn no_encoding_leads_around_a_route() {
    let stage = start(
        "",
        &[
            "path = \"/public\"\ncredential = \"none\"",
            "path = \"/private\"\ncredential = \"a\"",
            "path = \"/private/open\"\ncredential = \"none\"",
            "path = \"/private;v=1/a%20b\"\ncredential = \"a\"",
        ],
    )
    .await;
    for path in [
        "/public/../private",
        "/public/%2e%2e/private",
        "/public/..%2fprivate",
        "/public/%2E./private/x",
        "/public/..;a/private",
        "/public/.%2e%5cprivate",
        "/private/../public",
        "/public/../..",
        "/private/open;x=1/users",
        "/private/open;",
        "/private//open",
        "/private/%6fpen",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost");
        let (status, reason, _) = stage.send(&request).await;
        assert_eq!((status, reason.as_str()), (400, "ambiguous_path"), "{path}");
    }
    assert_eq!(stage.upstream.requests(), 0);
    for path in [
        "/private/a%2Fb",
        "/private//a",
        "/private/./a;b",
        "/private/a/../b?c=/../d",
        "/private/%70ublic",
        "/private/a;x=1/open",
        "/private/open/a;x=1//b",
        "/private;v=1/a%20b/c",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost");
        assert_eq!(stage.status(&request).await, 200, "{path}");
        assert_eq!(stage.upstream.last().target, path, "byte for byte");
    }
}
