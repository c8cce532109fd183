//! Debian's curl and wget.

use http::header::{EXPECT, TRANSFER_ENCODING};
use serde_json::{Map, Value, json};

use super::bench::{Bench, Carriage, Destination, megabyte, run};
use super::libraries::{ODD, assert_reused};
use super::upstream::Seen;

/// Paths, and the options with which a client asks for them. `FILE` stands for the file.
type Step = (&'static str, &'static [&'static str]);

const CURL: &[&str] = &["-q", "-sS", "-i", "--max-time", "20"];
/// What it does alike in every version of HTTP.
const CURL_STEPS: &[Step] = &[
    (ODD, &[]),
    (
        ODD,
        &["--path-as-is", "-H", "X-Note: Grüße", "-H", "X-Empty;"],
    ),
    ("/echo", &["-H", "Expect:", "--data-binary", "@FILE"]),
    ("/echo", &["-T", "FILE"]),
    ("/page", &["-I"]),
    ("/none", &["-X", "DELETE"]),
    ("/tagged", &["-H", "If-None-Match: \"1\""]),
    ("/gzip", &["--compressed"]),
    ("/gzip", &["-H", "Accept-Encoding: gzip", "--output", "-"]),
    ("/fields", &[]),
    ("/signed-in", &["-u", "nobody:secret"]),
    ("/options", &["-X", "OPTIONS"]),
];
/// Those that come back to a connection.
const CURL_STEPS_IN_TURN: &[Step] = &[
    ("/redirect", &["-L"]),
    ("/moved", &["-L", "--data", "once more"]),
    ("/reuse/[1-20]", &["-w", "connections %{num_connects}\n"]),
];
/// What there is in HTTP/1 alone.
const CURL_STEPS_IN_HTTP1: &[Step] = &[
    // It would wait for half a minute if nobody asked it for the body.
    (
        "/echo",
        &[
            "--data-binary",
            "@FILE",
            "-H",
            "Expect: 100-continue",
            "--expect100-timeout",
            "30",
        ],
    ),
    (
        "/echo",
        &[
            "-X",
            "POST",
            "-T",
            "FILE",
            "-H",
            "Transfer-Encoding: chunked",
        ],
    ),
    // It sends none of the body, for it is not asked for it.
    (
        "/refuse",
        &[
            "-T",
            "FILE",
            "-H",
            "Expect: 100-continue",
            "--expect100-timeout",
            "30",
            "-w",
            "sent %{size_upload}",
        ],
    ),
    ("/page", &["-0"]),
    ("/echo", &["-0", "--data", "old"]),
    ("/gzip", &["--tr-encoding"]),
    (
        "/signed-in",
        &["-u", "nobody:secret", "--proxy-user", "nobody:secret"],
    ),
];

const WGET: &[&str] = &[
    "--no-config",
    "-q",
    "-S",
    "-O",
    "-",
    "--tries=1",
    "--timeout=20",
];
const WGET_STEPS: &[Step] = &[
    (ODD, &[]),
    ("/echo", &["--post-file=FILE"]),
    ("/echo", &["--method=PUT", "--body-file=FILE"]),
    ("/page", &["--method=HEAD"]),
    ("/page", &["--spider"]),
    ("/none", &["--method=DELETE"]),
    ("/tagged", &["--header=If-None-Match: \"1\""]),
    ("/gzip", &["--compression=gzip"]),
    ("/fields", &[]),
    ("/redirect", &[]),
    ("/moved", &["--post-data=once more"]),
    (
        "/signed-in",
        &["--auth-no-challenge", "--user=nobody", "--password=secret"],
    ),
    (TWENTY, &[]),
];
/// It takes no patterns.
const TWENTY: &str = "/reuse/1 /reuse/2 /reuse/3 /reuse/4 /reuse/5 /reuse/6 /reuse/7 /reuse/8 \
                      /reuse/9 /reuse/10 /reuse/11 /reuse/12 /reuse/13 /reuse/14 /reuse/15 \
                      /reuse/16 /reuse/17 /reuse/18 /reuse/19 /reuse/20";

#[tokio::test(flavor = "multi_thread")]
async fn curl() {
    compare_in_http1(Carriage::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_on_a_unix_socket() {
    compare_in_http1(Carriage::Http1OnUnixSocket).await;
}

/// Version 7.88 cannot come back to a connection of which it knew the protocol beforehand.
#[tokio::test(flavor = "multi_thread")]
async fn curl_in_http2() {
    let bench = Bench::start(Carriage::Http2).await;
    let options = ["--http2-prior-knowledge"];
    let (told, seen) = compare(&bench, &options, CURL_STEPS).await;
    assert_eq!(seen.len(), CURL_STEPS.len());
    assert_in_http2(&told, &seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_in_http2_over_tls() {
    let bench = Bench::start(Carriage::Http2OverTls).await;
    let options = ["--http2", "--cacert", &bench.ca()];
    let steps = [CURL_STEPS, CURL_STEPS_IN_TURN].concat();
    let (told, seen) = compare(&bench, &options, &steps).await;
    assert_in_turn(&told, &seen, &steps);
    assert_in_http2(&told, &seen);
}

async fn compare_in_http1(carriage: Carriage) {
    let bench = Bench::start(carriage).await;
    let steps = [CURL_STEPS_IN_HTTP1, CURL_STEPS, CURL_STEPS_IN_TURN].concat();
    let (told, seen) = compare(&bench, &[], &steps).await;

    assert_in_turn(&told, &seen, &steps);
    let posted: Vec<_> = posted(&seen).collect();
    assert_eq!(posted.len(), 4);
    assert_eq!(posted[0].headers[EXPECT], "100-continue");
    assert_eq!(posted[1].headers[TRANSFER_ENCODING], "chunked");
    let refused = answered(&told, "/refuse");
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    assert!(refused.ends_with("sent 0"), "{refused}");
    let unchanged = answered(&told, "/tagged");
    assert!(unchanged.starts_with("HTTP/1.1 304 "), "{unchanged}");
}

async fn compare(bench: &Bench, options: &[&str], steps: &[Step]) -> (Value, Vec<Seen>) {
    let always = [CURL, options].concat();
    let client = async |to: &Destination| tell("curl", &always, steps, bench, to).await;
    let (told, seen) = bench.compare(client).await;

    let odd: Vec<_> = seen.iter().filter(|seen| seen.target == ODD).collect();
    assert_eq!(odd[1].headers["x-note"].as_bytes(), "Grüße".as_bytes());
    (told, seen)
}

fn assert_in_http2(told: &Value, seen: &[Seen]) {
    assert_eq!(posted(seen).count(), 2);
    let unchanged = answered(told, "/tagged");
    assert!(unchanged.starts_with("HTTP/2 304 "), "{unchanged}");
}

fn assert_in_turn(told: &Value, seen: &[Seen], steps: &[Step]) {
    assert_eq!(seen.len(), steps.len() + 2 + 19, "two were led on");
    assert_reused(seen);
    let reused = answered(told, "/reuse/[1-20]");
    assert_eq!(reused.matches("connections 1").count(), 1, "{reused}");
    assert_eq!(reused.matches("connections 0").count(), 19, "{reused}");
}

/// The requests whose body was the file.
fn posted(seen: &[Seen]) -> impl Iterator<Item = &Seen> {
    seen.iter().filter(|seen| seen.body == megabyte())
}

#[tokio::test(flavor = "multi_thread")]
async fn wget() {
    let bench = Bench::start(Carriage::Http1).await;
    let client = async |to: &Destination| tell("wget", WGET, WGET_STEPS, &bench, to).await;
    let (_, seen) = bench.compare(client).await;

    assert_eq!(seen.len(), WGET_STEPS.len() + 2 + 19, "two were led on");
    assert_eq!(seen[0].target, ODD);
    assert!(seen[1].body == megabyte());
    assert_reused(&seen);
}

/// Does one step after the other, and tells how each ended and what was printed.
async fn tell(
    program: &str,
    always: &[&str],
    steps: &[Step],
    bench: &Bench,
    destination: &Destination,
) -> Value {
    let mut told = Map::new();
    for (number, (paths, options)) in steps.iter().enumerate() {
        let file = bench.file();
        let options = options.iter().map(|option| option.replace("FILE", &file));
        let urls = paths
            .split(' ')
            .map(|path| format!("{}{path}", destination.base));
        let always = always.iter().map(|&option| option.to_owned());
        let socket = destination.socket.iter();
        let socket = socket.flat_map(|path| ["--unix-socket".to_owned(), path.clone()]);
        let arguments: Vec<_> = always.chain(socket).chain(options).chain(urls).collect();
        // The way in which both are told about a proxy as a rule.
        let proxy = destination.proxy.as_deref();
        let proxy = proxy.map(|proxy| ("http_proxy", proxy));
        let output = run(program, &arguments, proxy.as_slice()).await;
        let outcome = json!({
            "code": output.status.code(),
            "stdout": without_what_differs(&output.stdout),
            "stderr": without_what_differs(&output.stderr),
        });
        told.insert(format!("{number}: {paths}"), outcome);
    }
    Value::Object(told)
}

/// The time does; what is said about one connection (a body that was not asked for may cost it, or
/// not, as it happens); and where a redirect leads, which gatepass changes: that it leads to the
/// same is seen when it is followed.
fn without_what_differs(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    let differs = |line: &str| {
        let mut fields = ["date:", "connection:", "location:"].iter();
        fields.any(|field| line.trim_start().starts_with(field))
    };
    let lines = text.split('\n').filter(|line| !differs(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// What was printed in the only step with this path.
fn answered<'a>(told: &'a Value, path: &str) -> &'a str {
    let mut steps = told.as_object().unwrap().iter();
    let (_, outcome) = steps.find(|(step, _)| step.ends_with(path)).unwrap();
    outcome["stdout"].as_str().unwrap()
}
