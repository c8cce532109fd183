//! Promise: an upstream that does anything but answer costs the requests of its own routes, each
//! within its deadline, and nothing of any other route; and afterwards nothing of it is left.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::authorization_server::reset;
use crate::support::certificates::Authority;
use crate::support::{
    AuthorizationServer, Gatepass, Load, Nobody, Upstream, get, http2, problem, raw, simple_config,
    wire, within,
};
use crate::typical_mistakes::tls_server;

/// What an upstream does in the place of an answer.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Refuses,
    Stalls,
    HangsUp,
    ResetsAtOnce,
    ResetsInTheHead,
    ResetsInTheBody,
    StallsInTheBody,
    /// With all of it in one piece, as far as it goes.
    HangsUpInTheBody(&'static [u8]),
    DripsTheHead,
    Garbage,
    OversizedHead,
}

/// The faults, and how an answer to the caller begins.
const FAULTS: [(Fault, &str); 10] = [
    (Fault::Refuses, "HTTP/1.1 502"),
    (Fault::Stalls, "HTTP/1.1 504"),
    (Fault::HangsUp, "HTTP/1.1 502"),
    (Fault::ResetsAtOnce, "HTTP/1.1 502"),
    (Fault::ResetsInTheHead, "HTTP/1.1 502"),
    (Fault::ResetsInTheBody, "HTTP/1.1 200"),
    (Fault::StallsInTheBody, "HTTP/1.1 200"),
    (Fault::DripsTheHead, "HTTP/1.1 504"),
    (Fault::Garbage, "HTTP/1.1 502"),
    (Fault::OversizedHead, "HTTP/1.1 502"),
];

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";

/// Serves a fault for ever; returns where.
async fn serve(fault: Fault) -> String {
    if matches!(fault, Fault::Refuses) {
        let nobody = Nobody::new();
        let origin = nobody.origin();
        tokio::spawn(async move {
            let _kept = nobody;
            std::future::pending::<()>().await;
        });
        return origin;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // That gatepass gives up is what the test is about.
            tokio::spawn(async move { drop(do_wrong(stream, fault).await) });
        }
    });
    format!("http://{address}")
}

async fn do_wrong(mut stream: TcpStream, fault: Fault) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    match fault {
        Fault::Refuses | Fault::HangsUp => {}
        Fault::Stalls => std::future::pending().await,
        Fault::ResetsAtOnce => reset(stream)?,
        Fault::ResetsInTheHead => {
            stream.write_all(&HEAD[..20]).await?;
            reset(stream)?;
        }
        Fault::ResetsInTheBody => {
            stream.write_all(HEAD).await?;
            stream.write_all(b"half").await?;
            // A reset would overtake what was written before it.
            tokio::time::sleep(Duration::from_millis(50)).await;
            reset(stream)?;
        }
        Fault::StallsInTheBody => {
            stream.write_all(HEAD).await?;
            stream.write_all(b"half").await?;
            std::future::pending::<()>().await;
        }
        Fault::HangsUpInTheBody(answer) => stream.write_all(answer).await?,
        Fault::DripsTheHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Fault::Garbage => stream.write_all(b"\x16\x03\x01 nonsense\r\n\r\n").await?,
        Fault::OversizedHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            for number in 0..20_000 {
                let field = format!("X-{number}: {}\r\n", "x".repeat(100));
                stream.write_all(field.as_bytes()).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_costs_nothing_but_its_own_requests() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let mut config = simple_config(&provider, &upstream);
    for (fault, _) in FAULTS {
        let origin = serve(fault).await;
        config += &format!(
            "\n[[routes]]\nname = \"{name}\"\npath = \"/{fault:?}\"\nupstream = \"{origin}\"\n\
             credential = \"envase\"\ntimeouts.response_head = \"1s\"\ntimeouts.idle = \"1s\"\n",
            name = format!("{fault:?}").to_lowercase()
        );
    }
    let gatepass = Gatepass::start(&config).ready().await;
    let before = gatepass.metric("process_open_fds").await;
    let load = Load::start(gatepass.proxy(), 2);

    let mut asked = JoinSet::new();
    for (fault, begins) in FAULTS {
        for _ in 0..20 {
            let proxy = gatepass.proxy();
            asked.spawn(async move {
                let start = Instant::now();
                let head = format!(
                    "GET /{fault:?} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                );
                let answer = raw(proxy, head, |_| false).await;
                assert!(answer.starts_with(begins), "{fault:?}: {answer:?}");
                if begins.ends_with("200") {
                    assert!(answer.ends_with("half"), "{fault:?}: {answer:?}");
                }
                let took = start.elapsed();
                assert!(took < Duration::from_secs(5), "{fault:?} took {took:?}");
            });
        }
    }
    asked.join_all().await;

    assert_eq!(load.stop().await, [], "requests lost on the good route");
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
    for (fault, _) in FAULTS {
        let name = format!("{fault:?}").to_lowercase();
        let in_flight = format!("gatepass_requests_in_flight{{route=\"{name}\"}}");
        gatepass.wait_for_metric(&in_flight, 0.0).await;
    }
    // The good route's connections, and those of this question.
    let are_few = async || gatepass.metric("process_open_fds").await <= before + 10.0;
    within(Duration::from_secs(10), "descriptors come back", are_few).await;
}

/// Answers that end too early: in no byte of the body, in some, and in what is no chunk.
const BROKEN_OFF: [(&[u8], &str); 3] = [
    (HEAD, "\r\n\r\n"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "\r\n\r\nhalf",
    ),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        "\r\n\r\n",
    ),
];

/// gatepass before an upstream that gives this answer and hangs up.
async fn before_hanging_up(answer: &'static [u8]) -> Gatepass {
    let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
    let origin = serve(Fault::HangsUpInTheBody(answer)).await;
    let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
    Gatepass::start(&config).ready().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_of_an_answer_that_breaks_off_reaches_the_caller() {
    for (answer, end) in BROKEN_OFF {
        let gatepass = before_hanging_up(answer).await;
        for _ in 0..50 {
            let got = raw(gatepass.proxy(), wire::GET, |_| false).await;
            assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got:?}");
            assert!(got.ends_with(end), "{got:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_so_over_http2() {
    for (answer, _) in BROKEN_OFF {
        let gatepass = before_hanging_up(answer).await;
        let mut caller = http2::connect::<Full<Bytes>>(gatepass.proxy()).await;
        for _ in 0..50 {
            let answer = caller.send_request(http2::get_request("/")).await;
            let answer = answer.expect("the head of an answer");
            assert_eq!(answer.status(), 200);
            let broken_off = answer.into_body().collect().await.is_err();
            assert!(broken_off, "half a body looks like a whole one");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_speaks_tls_and_is_called_without_is_thought_of() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let address = tls_server(&Authority::new().server()).await;
    let config = simple_config(&provider, &upstream);
    let config = config.replace(&upstream.origin(), &format!("http://{address}"));
    let gatepass = Gatepass::start(&config).ready().await;
    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(answer.status(), 502);
    let detail = problem(&answer)["detail"].as_str().unwrap().to_owned();
    let advice = "; see its own log; if it speaks TLS there, write https:// in upstream";
    assert!(detail.ends_with(advice), "{detail}");
}

/// An upstream that is down fails every request: the first is news, and that it is over.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_of_once_and_when_it_is_over() {
    let stage = wire::Wire::start("timeouts.request = \"500ms\"").await;
    for _ in 0..3 {
        let (mut caller, _silent) = stage.exchange(wire::GET).await;
        wire::read_until(&mut caller, "\"request_timeout\"").await;
    }
    let (mut caller, mut upstream) = stage.exchange(wire::GET).await;
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    upstream.write_all(answer).await.unwrap();
    wire::read_until(&mut caller, "204").await;
    let over = stage.gatepass.wait_for_event("the upstream answers again");
    assert_eq!(over["failures"], 3, "{over}");
    let output = stage.gatepass.output();
    let warnings = output.lines().filter(|line| line.contains("\"WARN\""));
    let told = warnings.filter(|line| line.contains("did not begin to answer"));
    assert_eq!(told.count(), 1, "{output}");
}
