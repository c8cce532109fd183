//! Who was told a secret may repeat it: in an error, in a field, in another field than the one it
//! belongs to. What is shown of that is without it, and without what would steer a terminal.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::gatepass::run_with;
use crate::support::{
    AuthorizationServer, CANARY, CLIENT_SECRET, Gatepass, Reply, Upstream, get, shows_a_secret,
    simple_config,
};

const ANYWHERE: [(&str, &str); 2] = [
    ("GATEPASS__PROXY__LISTEN", "127.0.0.1:0"),
    ("GATEPASS__ADMIN__LISTEN", "127.0.0.1:0"),
];

/// Answers whatever comes with what is made of it, and closes.
async fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let once = async move |mut stream: TcpStream| {
        let mut asked = vec![0; 16 * 1024];
        let length = stream.read(&mut asked).await?;
        let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
        stream.write_all(answer(&asked).as_bytes()).await?;
        stream.shutdown().await
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = once(stream).await;
        }
    });
    address
}

/// With HELLO (RESP3) comes the password. A Redis that has no such command, because it is old or
/// has it renamed, repeats what came with it; the second is no Redis that is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_repeats_its_password_is_not_quoted_with_it() {
    let unknown = |asked: &str| {
        let told: Vec<_> = asked
            .split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']))
            .collect();
        match told.as_slice() {
            ["HELLO", rest @ ..] => format!(
                "-ERR unknown command 'HELLO', with args beginning with: '{}' \r\n",
                rest.join("' '").trim_end_matches("' '")
            ),
            _ => "-ERR what?\r\n".into(),
        }
    };
    let parrot = |asked: &str| format!("-ERR \u{1b}[31m no {}\r\n", asked.replace("\r\n", " "));
    let known = "the store says no: ResponseError: unknown command 'HELLO'; see that it is Redis 6";
    let strange = "the store is no help: ResponseError: \\u{1b}[31m no *";
    for (store, said) in [
        (answering(unknown).await, known),
        (answering(parrot).await, strange),
    ] {
        let provider = AuthorizationServer::start();
        let upstream = Upstream::start().await;
        let config = simple_config(&provider, &upstream)
            .replace("client_id", "store = \"fleet\"\nclient_id");
        let config = format!(
            "{config}\n[stores.fleet]\nkind = \"redis\"\nurl = \"redis://{store}\"\n\
             unencrypted = true\nusername = \"gatepass\"\npassword = \"{CANARY} of the fleet\"\n"
        );
        let gatepass = Gatepass::start(&config).ready().await;
        let ready = get(gatepass.admin(), "/readyz").await.into_body();
        assert!(ready.contains(said), "{ready}");
        gatepass.output_with("ResponseError");
        for path in ["/readyz", "/", "/api/status"] {
            let shown = get(gatepass.admin(), path).await.into_body();
            assert!(!shows_a_secret(&shown), "{path}: {shown}");
            assert!(!shown.contains('\u{1b}'), "{path}: {shown}");
        }
        let finished = run_with(&["doctor"], &[("gatepass.toml", &config)], &ANYWHERE);
        assert!(
            finished.stdout.contains("ResponseError"),
            "{}",
            finished.stdout
        );
        assert!(!shows_a_secret(&finished.stdout), "{}", finished.stdout);
        assert!(!finished.stdout.contains('\u{1b}'), "{}", finished.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_mixes_fields_up_is_not_quoted_with_what_belongs_elsewhere() {
    let secret = CLIENT_SECRET.replace(' ', "");
    let of_type = |told: &str| {
        let answer = format!(r#"{{"access_token":"canary-1","token_type":"{told}"}}"#);
        Reply::Json(200, answer)
    };
    let named = format!("HTTP/1.1 400 Bad Request\r\nContent-Type: text/{secret}\r\n\r\npage");
    for (reply, said) in [
        (of_type("canary-1"), "a token of type \"•••\" instead"),
        (
            of_type(&format!("for {CLIENT_SECRET}")),
            "a token of type \"for •••\" instead",
        ),
        (
            Reply::Bytes(named.into_bytes()),
            "with 4 bytes of (not shown",
        ),
    ] {
        let provider = AuthorizationServer::start();
        provider.otherwise(reply);
        let upstream = Upstream::start().await;
        let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
        provider.wait_for_requests(1).await;
        gatepass.output_with("no token to send");
        let ready = get(gatepass.admin(), "/readyz").await.into_body();
        assert!(ready.contains(said), "{ready}");
        assert!(!shows_a_secret(&ready), "{ready}");
    }
}

/// Spring Security's resource server says which token it is that it refuses.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_repeats_the_token_is_not_quoted_with_it() {
    let provider = AuthorizationServer::start();
    let upstream = answering(|asked| {
        let value = |name: &str| {
            let mut lines = asked.lines();
            let found = lines
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default();
            found.to_owned()
        };
        let (token, key) = (value("authorization: Bearer "), value("x-api-key: "));
        format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error=\"invalid_token\", \
             error_description=\"Invalid access token: {token}\", key=\"{key}\"\r\n\r\n"
        )
    });
    let config = format!(
        "[credentials.a]\ntoken_endpoint = \"{}\"\nclient_id = \"a\"\nclient_secret = \"{CANARY}\"\n\
         [[routes]]\npath = \"/\"\nupstream = \"http://{}\"\ncredential = \"a\"\n\
         headers = {{ x-api-key = \"{CANARY}-key\" }}\n",
        provider.token_endpoint(),
        upstream.await
    );
    let finished = run_with(
        &["doctor", "--call"],
        &[("gatepass.toml", &config)],
        &ANYWHERE,
    );
    let said = "error_description=\"Invalid access token: •••\", key=\"•••\")";
    assert!(finished.stdout.contains(said), "{}", finished.stdout);
    assert!(!finished.stdout.contains(CANARY), "{}", finished.stdout);
}
