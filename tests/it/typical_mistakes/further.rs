//! More of them: those of stores, of logins, and of the way to an upstream.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::place::Place;
use super::{said_no, tls_server};
use crate::support::Reply;
use crate::support::certificates::Authority;

const FIRST_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
const SECOND_KEY: &str = "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

#[tokio::test(flavor = "multi_thread")]
async fn each_of_stores_and_logins_is_called_by_its_name() {
    let mut told = String::new();
    let mut tell = |mistake: &str, said: String| {
        let _ = writeln!(told, "## {mistake}\n{said}\n");
    };

    let hello = "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n";
    let forbidden = "-NOPERM User gatepass has no permissions to run the 'eval' command\r\n";
    for (mistake, hello, eval) in [
        (
            "a wrong password of a store",
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
            "",
        ),
        (
            "no password for a store that wants one",
            "-NOAUTH HELLO must be called with the client already authenticated\r\n",
            "",
        ),
        ("a user of a store who may not do enough", hello, forbidden),
    ] {
        let mut place = Place::new().await;
        let redis = redis(hello, eval).await;
        share(
            &mut place,
            &format!("url = \"redis://{redis}\"\nkind = \"redis\""),
        );
        place.stands_for(redis, "REDIS");
        tell(mistake, place.doctor(&[]));
    }

    let mut place = Place::new().await;
    share(
        &mut place,
        "url = \"redis://127.0.0.1:1\"\nkind = \"redis\"",
    );
    tell("a store that is not there", place.doctor(&[]));

    let mut place = Place::new().await;
    share(
        &mut place,
        "kind = \"file\"\ndirectory = \"DIRECTORY/none\"",
    );
    tell("a directory that is not there", place.check());
    tell("the same, to doctor", place.doctor(&[]));

    let mut place = Place::new().await;
    std::fs::create_dir(place.directory.path().join("store")).unwrap();
    share(
        &mut place,
        "kind = \"file\"\ndirectory = \"DIRECTORY/store\"",
    );
    let (code, _, stderr) = place.run(&["token"]);
    assert_eq!(code, Some(0), "{stderr}");
    place.write("key", SECOND_KEY);
    tell("another key than the other replicas'", place.doctor(&[]));

    place.write("key", FIRST_KEY);
    place.replace(
        "client_secret_file",
        "grant_type = \"authorization_code\"\nclient_secret_file",
    );
    place
        .credential
        .push_str("\nauthorization_endpoint = \"https://id.example/authorize\"");
    tell("nobody has logged in", place.doctor(&[]));

    insta::assert_snapshot!(told);
}

/// Shares the credential's tokens in a store of this kind.
pub fn share(place: &mut Place, store: &str) {
    let directory = place.directory.path().display().to_string();
    place.write("key", FIRST_KEY);
    let store = store.replace("DIRECTORY", &directory);
    place.top = format!("[stores.fleet]\n{store}\nkey_file = \"{directory}/key\"\n");
    place.credential.push_str("\nstore = \"fleet\"");
    place.stands_for(directory, "DIRECTORY");
}

/// A Redis that greets with these words, and answers scripts with those.
async fn redis(hello: &'static str, eval: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, hello, eval));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, hello: &str, eval: &str) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        // A command is an array, which begins with its length; its name is the second line after.
        for command in text.split('*').skip(1) {
            let reply = match command.split("\r\n").nth(2) {
                Some("HELLO") => hello,
                Some("EVAL") => eval,
                _ => "+OK\r\n",
            };
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_providers_and_upstreams_is_called_by_its_name() {
    let mut told = String::new();
    let mut tell = |mistake: &str, said: String| {
        let _ = writeln!(told, "## {mistake}\n{said}\n");
    };

    for (mistake, reply) in [
        ("too many token requests", Reply::Json(429, "{}".into())),
        (
            "a provider that is down for a while",
            Reply::Json(503, "{}".into()),
        ),
        (
            "a request that the provider does not understand",
            said_no(400, "invalid_request"),
        ),
        (
            "an answer without a token",
            Reply::Json(200, r#"{"id_token":"e30.e30.x"}"#.into()),
        ),
    ] {
        let place = Place::new().await;
        place.provider.otherwise(reply);
        tell(mistake, place.doctor(&[]));
    }

    let mut place = Place::new().await;
    place.provider.otherwise(said_no(400, "invalid_grant"));
    place.write("password", "canary");
    let user =
        "grant_type = \"password\"\nusername = \"clerk\"\npassword_file = \"password\"\nclient_id";
    place.replace("client_id", user);
    tell("a wrong password of a user", place.doctor(&[]));

    let mut place = Place::new().await;
    let endpoint = format!("token_endpoint = \"{}\"", place.provider.token_endpoint());
    let document = format!(
        "http://{}/.well-known/openid-configuration",
        place.provider.address()
    );
    place.replace(&endpoint, &format!("issuer = \"{document}\""));
    tell(
        "the address of the discovery document as issuer",
        place.check(),
    );

    let place = Place::new().await;
    place.write("secret", "");
    tell("a secret's file that is empty", place.check());

    for (mistake, url) in [
        (
            "http to an upstream that is not on this machine",
            "http://api.example",
        ),
        ("an upstream without http:// or https://", "api.example"),
    ] {
        let mut place = Place::new().await;
        place.upstream_url = url.into();
        tell(mistake, place.check());
    }

    let mut place = Place::new().await;
    place.upstream_url = "https://no-such-host.invalid".into();
    let said = place.doctor(&[]);
    let (before, rest) = said.split_once(" (").unwrap();
    let (_, after) = rest.split_once(')').unwrap();
    tell(
        "an upstream whose name the DNS does not know",
        format!("{before} (…){after}"),
    );

    let mut place = Place::new().await;
    place.route = "credential = \"envaze\"".into();
    tell(
        "a credential's name that is misspelt in a route",
        place.check(),
    );

    for (mistake, top) in [
        (
            "a listener that other machines reach",
            "proxy.listen = \"0.0.0.0:8080\"\n",
        ),
        (
            "a listener by a name",
            "proxy.listen = \"localhost:8080\"\n",
        ),
        ("a port alone", "proxy.listen = 8080\n"),
        ("a length of time without a unit", "shutdown.grace = 30\n"),
        ("a text without quotes", "log.level = debug\n"),
    ] {
        let mut place = Place::new().await;
        place.top = top.into();
        tell(mistake, place.check_of_the_file_alone());
    }

    let authority = Authority::new();
    let mut place = Place::new().await;
    place.ask_over_tls(&authority, &authority.server()).await;
    place.write("ca.pem", &authority.server().key);
    tell(
        "a key in the place of an authority's certificate",
        place.check(),
    );

    let outdated = Authority::outdated();
    let mut place = Place::new().await;
    place.ask_over_tls(&outdated, &outdated.server()).await;
    let endpoint = format!("token_endpoint = \"{}\"", place.provider.token_endpoint());
    assert!(!place.credential.contains(&endpoint));
    tell(
        "a trusted authority whose certificate has run out",
        place.check(),
    );

    let mut place = Place::new().await;
    let mut chain = outdated.server();
    chain.certificate.push_str(&outdated.pem());
    place.ask_over_tls(&outdated, &chain).await;
    tell(
        "a server that shows an authority that has run out",
        place.doctor(&[]),
    );

    let mut place = Place::new().await;
    let address = tls_server(&authority.server()).await;
    place.upstream_url = format!("http://{}", leads_to(&format!("https://{address}/")).await);
    place.stands_for(place.upstream_url.clone(), "http://LEADING");
    place.stands_for(address, "TLS-UPSTREAM");
    tell("an upstream that leads to https", place.doctor(&["--call"]));

    let place = Place::new().await;
    place.provider.otherwise(Reply::Words(
        3600.0,
        super::jwt(&json!({ "iss": "https://id.example", "nbf": 4_000_000_000_u64 })),
    ));
    tell("a token from the future", place.doctor(&[]));

    insta::assert_snapshot!(told);
}

/// Answers every request with a redirect.
async fn leads_to(location: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}
