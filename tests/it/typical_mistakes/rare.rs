//! What goes wrong seldom, and has to be called by its name all the same.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::further::share;
use super::place::Place;
use super::{jwt, said_no, tls_server};
use crate::support::Reply;
use crate::support::certificates::{Authority, Identity};

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_is_called_by_its_name() {
    let mut told = String::new();
    let mut tell = |mistake: &str, said: String| {
        let _ = writeln!(told, "## {mistake}\n{said}\n");
    };
    let text = |text: &str| {
        let length = text.len();
        Reply::Bytes(
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}")
                .into_bytes(),
        )
    };
    let words = |token: &str| {
        let words = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 });
        Reply::Json(200, words.to_string())
    };
    let no_post = Reply::Bytes(
        b"HTTP/1.1 501 No\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".into(),
    );
    let bare = "token_field = \".\"";
    let over = r#"{"access_token":"e30.eyJleHAiOjF9.c2ln","token_type":"Bearer"}"#;
    for (mistake, key, reply) in [
        ("the word before a bare token", bare, text("Bearer abc")),
        (
            "a page in the place of a bare token",
            bare,
            text("<html> </html>"),
        ),
        ("an object in the place of a bare token", bare, words("abc")),
        ("an empty token", "", words("")),
        ("a token that is too long", "", words(&"x".repeat(17_000))),
        ("a token with a space", "", words("a b")),
        ("a token that is over", "", Reply::Json(200, over.into())),
        ("an answer that is too long", "", text(&"x".repeat(300_000))),
        ("a server of mere files", "", no_post),
        ("a connection that ends", "", Reply::HangUp),
        (
            "a provider that is silent",
            "timeout = \"1s\"",
            Reply::Silence,
        ),
    ] {
        let mut place = Place::new().await;
        place.credential = format!("{}\n{key}", place.credential);
        place.provider.otherwise(reply);
        tell(mistake, place.doctor(&[]));
    }

    let mut place = Place::new().await;
    place.write("before", "canary-before");
    place
        .credential
        .push_str("\nprevious_client_secret_file = \"before\"");
    place.provider.plan([said_no(401, "invalid_client")]);
    tell("a secret that is not yet taken", place.doctor(&[]));

    let mut place = Place::new().await;
    place.write("field", "canary\ncanary");
    place
        .credential
        .push_str("\nheaders = { x-key = { file = \"field\" } }");
    tell("a line break in a field", place.doctor(&[]));

    let mut place = Place::new().await;
    let issuer = format!("http://{}", place.provider.address());
    place.provider.publish(
        "/.well-known/openid-configuration",
        json!({ "issuer": issuer, "token_endpoint": place.provider.token_endpoint() }),
    );
    let endpoint = format!("token_endpoint = \"{}\"", place.provider.token_endpoint());
    place.replace(
        &endpoint,
        &format!("issuer = \"{issuer}\"\nverify.audience = \"orders\""),
    );
    tell("keys that are published nowhere", place.doctor(&[]));

    let mut place = Place::new().await;
    let endpoint = format!("token_endpoint = \"{}\"", place.provider.token_endpoint());
    place.replace(&endpoint, "issuer = \"http://127.0.0.1:1\"");
    let (code, _, stderr) = place.run(&["token"]);
    assert_eq!(code, Some(69), "{stderr}");
    tell("an issuer that is not there", stderr);

    let mut place = Place::new().await;
    place
        .credential
        .push_str("\negress_proxy = \"http://127.0.0.1:1\"");
    let (code, _, stderr) = place.run(&["token"]);
    assert_eq!(code, Some(69), "{stderr}");
    tell("an egress proxy that is not there", stderr);

    for (mistake, user, greeting) in [
        (
            "an egress proxy that wants to know who asks",
            "",
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        ),
        (
            "an egress proxy that does not take the password",
            "tms:wrong@",
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        ),
        (
            "an egress proxy that does not let this through",
            "",
            "HTTP/1.1 403 Forbidden\r\n\r\n",
        ),
    ] {
        let mut place = Place::new().await;
        let proxy = listener(greeting).await;
        let plain = place.provider.token_endpoint();
        place.replace(&plain, "https://id.example/token");
        let key = format!("\negress_proxy = \"http://{user}{proxy}\"");
        place.credential.push_str(&key);
        let (code, _, stderr) = place.run(&["token"]);
        assert_eq!(code, Some(69), "{stderr}");
        tell(mistake, stderr);
    }

    let mut place = Place::new().await;
    place.credential = "token_file = \"./later\"".into();
    tell("a token's file that is not there", place.doctor(&[]));
    tell(
        "the same, to whoever wants the token",
        place.run(&["token"]).2,
    );

    place.write("later", "e30.eyJleHAiOjF9.c2ln");
    tell("a token's file that holds an old one", place.doctor(&[]));

    let mut place = Place::new().await;
    let subject = "grant_type = \"token_exchange\"\nsubject_token_file = \"./later\"\nclient_id";
    place.replace("client_id", subject);
    let (code, _, stderr) = place.run(&["token"]);
    assert_eq!(code, Some(69), "{stderr}");
    tell("another's token that is not there", stderr);

    let mut place = Place::new().await;
    std::fs::create_dir(place.directory.path().join("store")).unwrap();
    share(
        &mut place,
        "kind = \"file\"\ndirectory = \"DIRECTORY/store\"",
    );
    place.provider.otherwise(said_no(400, "invalid_scope"));
    for _ in 0..2 {
        let (code, _, stderr) = place.run(&["token"]);
        assert_eq!(code, Some(69), "{stderr}");
        tell("a failure that all wait after", stderr);
    }
    insta::assert_snapshot!(told);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_a_way_is_called_by_its_name() {
    let mut told = String::new();
    let mut tell = |mistake: &str, said: String| {
        let _ = writeln!(told, "## {mistake}\n{said}\n");
    };

    for (mistake, greeting) in [
        (
            "a provider that speaks another protocol",
            "SSH-2.0-OpenSSH_9.2\r\n",
        ),
        ("a provider that says nothing", ""),
    ] {
        let mut place = Place::new().await;
        let address = listener(greeting).await;
        let plain = place.provider.token_endpoint();
        place.replace(&plain, &format!("http://{address}/token"));
        place.credential.push_str("\ntimeout = \"1s\"");
        place.stands_for(address, "OTHER");
        tell(mistake, place.doctor(&[]));
    }

    let mut place = Place::new().await;
    let address = listener("").await;
    place.upstream_url = format!("https://localhost:{}", address.port());
    place.route.push_str("\ntimeouts.connect = \"1s\"");
    place.stands_for(address.port(), "PORT");
    tell("TLS with somebody who says nothing", place.doctor(&[]));

    let mut place = Place::new().await;
    let address = closer().await;
    let plain = place.provider.token_endpoint();
    place.replace(&plain, &format!("https://{address}/token"));
    place.stands_for(address, "OTHER");
    tell("TLS with somebody who closes", place.doctor(&[]));
    let (code, _, stderr) = place.run(&["token"]);
    assert_eq!(code, Some(69), "{stderr}");
    tell("the same, to whoever wants the token", stderr);

    let mut place = Place::new().await;
    place.upstream_url = "unix:/nonexistent/socket".into();
    tell("a socket that is not there", place.doctor(&[]));

    for (mistake, status) in [
        ("an upstream that does not allow it", "403 Forbidden"),
        ("an upstream that is broken", "500 Broken"),
    ] {
        let mut place = Place::new().await;
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let address = listener(answer.leak()).await;
        place.upstream_url = format!("http://{address}");
        place.stands_for(address, "OTHER");
        tell(mistake, place.doctor(&["--call"]));
    }

    let mut place = Place::new().await;
    let address = listener("HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n").await;
    place.upstream_url = format!("http://{address}");
    place.stands_for(address, "OTHER");
    let (code, stdout, _) = place.run(&["doctor", "--call"]);
    assert_eq!(code, Some(0), "{stdout}");
    let call = stdout.lines().find(|line| line.contains("  call  "));
    tell(
        "a path that the upstream does not know",
        call.unwrap().into(),
    );

    let mut place = Place::new().await;
    let address = listener("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").await;
    place.upstream_url = format!("http://{address}");
    place.route = "credential = \"none\"".into();
    place.stands_for(address, "OTHER");
    tell("an upstream that wants a token", place.doctor(&["--call"]));

    let mut place = Place::new().await;
    let address = listener("").await;
    place.upstream_url = format!("http://{address}");
    place.route.push_str("\ntimeouts.response_head = \"1s\"");
    place.stands_for(address, "OTHER");
    tell(
        "an upstream that does not answer",
        place.doctor(&["--call"]),
    );

    let authority = Authority::new();
    let soon = since_1970() + Duration::from_secs(7 * 86_400);
    let mut place = Place::new().await;
    let address = tls_server(&authority.server_until(soon)).await;
    place.write("ca.pem", &authority.pem());
    place.upstream_url = format!("https://localhost:{}", address.port());
    place.route.push_str("\ntls = { ca_file = \"ca.pem\" }");
    place.stands_for(address.port(), "PORT");
    let said = place.doctor(&[]);
    let (before, after) = said.split_once(" ends on ").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    tell(
        "a certificate that ends soon",
        format!("{before} ends on …\n{after}"),
    );

    for is_authority in [true, false] {
        let mut place = Place::new().await;
        let identity = Identity::self_signed(is_authority);
        let address = tls_server(&identity).await;
        place.write("ca.pem", &identity.certificate);
        place.upstream_url = format!("https://localhost:{}", address.port());
        place.route.push_str("\ntls = { ca_file = \"ca.pem\" }");
        place.stands_for(address.port(), "PORT");
        if is_authority {
            tell("an authority in the place of a server", place.doctor(&[]));
        } else {
            // As that one is told to be made.
            let (code, stdout, _) = place.run(&["doctor"]);
            assert_eq!(code, Some(0), "{stdout}");
        }
    }

    let place = Place::new().await;
    place
        .provider
        .otherwise(Reply::Words(3600.0, jwt(&json!({ "scope": "a" }))));
    let (_, stdout, _) = place.run(&["doctor"]);
    assert!(stdout.contains("with the scopes a"), "{stdout}");

    insta::assert_snapshot!(told);
}

/// By a file's date: tests read no clock.
fn since_1970() -> Duration {
    let now = std::fs::metadata("/proc/self/stat").unwrap().modified();
    now.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

/// Says this to whoever says something, and nothing else.
async fn listener(greeting: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while let Ok(1..) = stream.read(&mut head).await {
                    let _ = stream.write_all(greeting.as_bytes()).await;
                }
            });
        }
    });
    address
}

/// Hears what is said, and closes.
async fn closer() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    address
}
