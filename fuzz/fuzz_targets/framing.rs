//! Whatever a caller sends, what comes out at the upstream is HTTP to the letter, with the token.
//!
//! The bytes go over real sockets through a whole gatepass.
#![no_main]

#[path = "../../tests/it/support/strict.rs"]
mod strict;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use gatepass::config::{self, Layers};
use gatepass::signal::Signals;
use gatepass::{app, runtime, telemetry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, &[u8])| {
    static PROXY: OnceLock<SocketAddr> = OnceLock::new();
    let proxy = *PROXY.get_or_init(start);
    let (as_it_is, bytes) = input;
    exchange(
        proxy,
        &if as_it_is {
            bytes.to_vec()
        } else {
            spell(bytes)
        },
    );
    let faults = FAULTS.lock().unwrap();
    assert!(faults.is_empty(), "{faults:?}");
});

/// What was wrong with what arrived at the upstream.
static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Small bytes stand for what requests are made of, so that mutations are requests more often.
fn spell(bytes: &[u8]) -> Vec<u8> {
    let word = |byte: &u8| match FRAGMENTS.get(usize::from(*byte)) {
        Some(fragment) => fragment.to_vec(),
        None => vec![*byte],
    };
    bytes.iter().flat_map(word).collect()
}

const FRAGMENTS: [&[u8]; 32] = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a HTTP/1.1\r\n",
    b"HEAD / HTTP/1.0\r\n",
    b"GET http://localhost/ HTTP/1.1\r\n",
    b"Host: localhost\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: ",
    b"Connection: ",
    b"Authorization: ",
    b"\n",
    b"\r\n\r\n",
    b"chunked",
    b"\r",
    b"\r\n",
    b"identity, ",
    b"close\r\n",
    b"0\r\n\r\n",
    b"5\r\n12345\r\n",
    b"5",
    b"12345",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\n",
    b"Trailer: x\r\n",
    b"TE: trailers\r\n",
    b"x: y\r\n",
    b";a=\"b\"",
    b"\t",
    b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x84\x41\x09localhost",
    b"\0\0\x05\0\x01\0\0\0\x01hello",
    b"localhost",
];

fn exchange(proxy: SocketAddr, bytes: &[u8]) {
    let mut caller = TcpStream::connect(proxy).unwrap();
    caller
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    // It may be closed while this is being written.
    let _ = caller.write_all(bytes);
    let _ = caller.shutdown(Shutdown::Write);
    let _ = caller.read_to_end(&mut Vec::new());
}

/// Starts the upstream and gatepass, and waits until requests pass.
fn start() -> SocketAddr {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", upstream.local_addr().unwrap());
    thread::spawn(move || {
        for stream in upstream.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || converse(stream));
        }
    });
    let token = std::env::temp_dir().join(format!("gatepass-fuzz-{}", std::process::id()));
    std::fs::write(&token, "canary-token-1").unwrap();
    let text = format!(
        "log.level = \"error\"\n\
         proxy.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n\
         proxy.timeouts.half_closed = \"1s\"\n\
         [credentials.a]\ntoken_file = \"{}\"\ndefault_lifetime = \"1d\"\n\
         [[routes]]\npath = \"/\"\nupstream = \"{origin}\"\ncredential = \"a\"\n",
        token.display()
    );
    let (send, address) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let layers = Layers {
            text: Some(text),
            ..Layers::default()
        };
        let settings = config::load(&layers);
        let settings = settings.unwrap_or_else(|problems| panic!("{problems}"));
        // A panic, wherever it is, has to end the run and not to be logged.
        let hook = std::panic::take_hook();
        let log = telemetry::start(settings.log).unwrap();
        std::panic::set_hook(hook);
        runtime::control(async move {
            let signals = Signals::catch().unwrap();
            let bound = app::build(settings, layers, &log).unwrap();
            send.send(bound.proxy_addresses()[0].to_string()).unwrap();
            bound.run(signals).await.unwrap();
        })
    });
    let proxy = address.recv().unwrap().parse().unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    loop {
        let mut caller = TcpStream::connect(proxy).unwrap();
        caller.write_all(request).unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            let _ = std::fs::remove_file(token);
            return proxy;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn converse(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    loop {
        match strict::parse(&bytes) {
            Ok(Some(request)) => {
                bytes.drain(..request.length);
                let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_vec();
                if request.method != "HEAD" {
                    answer.extend(b"ok");
                }
                if stream.write_all(&answer).is_err() {
                    return;
                }
            }
            Ok(None) => {
                let mut piece = [0; 4096];
                match stream.read(&mut piece) {
                    // What was begun and broken off is no request.
                    Ok(0) | Err(_) => return,
                    Ok(read) => bytes.extend(&piece[..read]),
                }
            }
            Err(fault) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                FAULTS.lock().unwrap().push(format!("{fault}: {text:?}"));
                return;
            }
        }
    }
}
