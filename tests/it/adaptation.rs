//! What a route changes on the way, because its configuration says so.

use crate::support::wire::{GET, Wire, read_until};
use tokio::io::AsyncWriteExt;

/// The head that reaches the upstream, and the one that comes back for this answer, in which
/// `UPSTREAM` stands for the upstream's address.
async fn exchange(wire: &Wire, request: &str, answer: &str) -> (String, String) {
    let mut caller = wire.call(request.as_bytes()).await;
    let mut upstream = wire.accept().await;
    let head = read_until(&mut upstream, "\r\n\r\n").await;
    let local = upstream.local_addr().unwrap().to_string();
    let answer = answer.replace("UPSTREAM", &local);
    upstream.write_all(answer.as_bytes()).await.unwrap();
    let back = read_until(&mut caller, "\r\n\r\n").await;
    (head, back.replace(&local, "UPSTREAM"))
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_come_and_go_as_configured() {
    let keys = r#"
        remove_headers = ["cookie", "x-internal"]
        headers = { x-added = "1" }
        response_headers = { cache-control = "no-store" }
        remove_response_headers = "server"
        keep_host = true"#;
    let request = "GET / HTTP/1.1\r\nHost: localhost:1234\r\nCookie: a\r\nCookie: b\r\n\
                   X-Internal: c\r\nX-Added: 2\r\nx-added: 3\r\nVia: 1.1 other\r\n\r\n";
    let answer =
        "HTTP/1.1 200 OK\r\nServer: x\r\nCache-Control: public\r\nContent-Length: 0\r\n\r\n";
    let (sent, back) = exchange(&Wire::start(keys).await, request, answer).await;
    for field in [
        "host: localhost:1234",
        "x-added: 1",
        "via: 1.1 other",
        "via: 1.1 gatepass",
    ] {
        assert!(
            sent.contains(&format!("\r\n{field}\r\n")),
            "{field}: {sent}"
        );
    }
    assert!(
        !sent.contains("cookie") && !sent.contains("x-internal"),
        "{sent}"
    );
    // What the caller says of it would be believed as much.
    assert_eq!(sent.matches("x-added").count(), 1, "{sent}");
    assert!(back.contains("\r\ncache-control: no-store\r\n"), "{back}");
    assert!(
        !back.contains("server") && !back.contains("public"),
        "{back}"
    );
    assert!(!back.contains("via"), "answers get no fingerprint: {back}");
}

/// RFC 9112 §3.2: "A client MUST send a Host header field in all HTTP/1.1 request messages."
#[tokio::test(flavor = "multi_thread")]
async fn where_the_caller_has_no_host_to_keep_the_upstreams_goes_on() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: host, close\r\n\r\n",
    ] {
        let wire = Wire::start("keep_host = true").await;
        let mut caller = wire.call(request.as_bytes()).await;
        let mut upstream = wire.accept().await;
        let head = read_until(&mut upstream, "\r\n\r\n").await;
        let own = format!("\r\nhost: {}\r\n", upstream.local_addr().unwrap());
        assert!(head.contains(&own), "{head}");
        upstream.write_all(answer.as_bytes()).await.unwrap();
        read_until(&mut caller, "\r\n\r\n").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_to_the_upstream_lead_through_gatepass() {
    let stripped = "strip_path = true";
    let plain = "";
    for (keys, base, location, told) in [
        (stripped, "", "http://UPSTREAM/v2/x?a#b", "/api/v2/x?a#b"),
        (stripped, "", "HTTP://UPSTREAM", "/api"),
        (stripped, "", "/v2", "/api/v2"),
        (stripped, "/base", "http://UPSTREAM/base/x", "/api/x"),
        (stripped, "/base", "/base", "/api"),
        (stripped, "/base", "/other", "/other"),
        (stripped, "/base", "/basement", "/basement"),
        (stripped, "", "https://UPSTREAM/x", "https://UPSTREAM/x"),
        (
            stripped,
            "",
            "http://elsewhere.example/x",
            "http://elsewhere.example/x",
        ),
        (stripped, "", "http://u@UPSTREAM/x", "http://u@UPSTREAM/x"),
        (
            stripped,
            "",
            "http://u@UPSTREAM/x?a b",
            "http://u@UPSTREAM/x?a b",
        ),
        (stripped, "", "//UPSTREAM/x", "/api/x"),
        (
            stripped,
            "",
            "//elsewhere.example/x",
            "//elsewhere.example/x",
        ),
        (stripped, "", "/Müller x", "/api/Müller x"),
        (stripped, "", "http://UPSTREAM?q=a b", "/api?q=a b"),
        (stripped, "", "http://UPSTREAM/<é>\"?\"", "/api/<é>\"?\""),
        (stripped, "", "http://UPSTREAM /x", "http://UPSTREAM /x"),
        (stripped, "", "//UPSTREAM\\@a/x", "//UPSTREAM\\@a/x"),
        (stripped, "", "http://UPSTREAM//a/x", "/api//a/x"),
        (stripped, "", "mailto:é", "mailto:é"),
        (stripped, "", "next", "next"),
        (plain, "", "http://UPSTREAM/api/x", "/api/x"),
        (plain, "", "http://UPSTREAM/x", "http://UPSTREAM/x"),
        (plain, "", "http://UPSTREAM/api/ö ", "/api/ö"),
        (plain, "", "http://UPSTREAM/ö", "http://UPSTREAM/ö"),
        (plain, "/base", "/base/api/x", "/api/x"),
        (
            "rewrite_location = false",
            "",
            "http://UPSTREAM/api",
            "http://UPSTREAM/api",
        ),
    ] {
        let wire = Wire::start_at("/api", base, keys).await;
        let request = GET.replace(" / ", " /api/start ");
        let answer =
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let (_, back) = exchange(&wire, &request, &answer).await;
        let expected = format!("\r\nlocation: {told}\r\n");
        assert!(back.contains(&expected), "{keys} {base} {location}: {back}");
    }
}

/// What begins with two slashes names a host.
#[tokio::test(flavor = "multi_thread")]
async fn no_path_of_the_upstreams_becomes_a_host() {
    for (base, location) in [
        ("", "http://UPSTREAM//elsewhere.example/x"),
        ("/base", "/base//elsewhere.example/x"),
    ] {
        let wire = Wire::start_at("/", base, "").await;
        let answer =
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let (_, back) = exchange(&wire, GET, &answer).await;
        let same_host = "\r\nlocation: /.//elsewhere.example/x\r\n";
        assert!(back.contains(same_host), "{back}");
    }
}

/// The token's field cannot come a second time, behind the body.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_and_none_of_them_is_a_token() {
    let wire = Wire::start_with_credential("header = \"x-id-token\"", "").await;
    let request = "POST / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\
                   Transfer-Encoding: chunked\r\n\
                   Trailer: x-sum, x-id-token, authorization\r\n\r\n\
                   4\r\nbody\r\n0\r\nX-Sum: 7\r\nX-Id-Token: theirs\r\n\
                   Authorization: Bearer theirs\r\n\r\n";
    let mut caller = wire.call(request.as_bytes()).await;
    let mut upstream = wire.accept().await;
    let seen = read_until(&mut upstream, "x-sum: 7\r\n\r\n").await;
    assert!(
        seen.contains("\r\nte: trailers\r\nconnection: te\r\n"),
        "{seen}"
    );
    assert!(!seen.contains("theirs"), "{seen}");
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n\
                  2\r\nok\r\n0\r\nx-end: 9\r\n\r\n";
    upstream.write_all(answer.as_bytes()).await.unwrap();
    read_until(&mut caller, "x-end: 9\r\n\r\n").await;
}
