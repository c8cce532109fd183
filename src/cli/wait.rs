//! `gatepass wait`

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

use tokio::time::Instant;

use super::{DONE, Failure, WaitArguments};
use crate::config::{self, Flags, Layers};
use crate::server::Address;

pub(super) fn wait(arguments: WaitArguments) -> Result<u8, Failure> {
    let layers = match arguments.admin_listen {
        Some(admin_listen) => Layers {
            flags: Flags {
                admin_listen: Some(admin_listen),
                ..Flags::default()
            },
            ..Layers::default()
        },
        None => Layers::from_process(arguments.config, Flags::default())?,
    };
    let address = config::admin_address(&layers)?;
    let start = Instant::now();
    loop {
        let why = match ask(&address) {
            Ok(answer) if answer.starts_with(READY) => return Ok(DONE),
            Ok(answer) => said(&answer).to_owned(),
            Err(error) => {
                format!("it cannot be asked: {error}; see that it runs, and that it listens there")
            }
        };
        if start.elapsed() >= arguments.timeout {
            return Err(Failure::NotReady(format!(
                "the gatepass at {address} was not ready within {}: {why}",
                humantime::format_duration(arguments.timeout)
            )));
        }
        sleep(PERIOD);
    }
}

/// Asks once. The admin listener's answers have a length and end with the connection.
fn ask(address: &Address) -> io::Result<String> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream)
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream)
        }
        Address::Systemd(_) => Err(io::Error::other(
            "only systemd knows where it listens; say it with --admin-listen",
        )),
    }
}

/// What listens on all addresses is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            address.set_ip(Ipv6Addr::LOCALHOST.into());
        }
        _ => {}
    }
    address
}

fn exchange(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The body, or all of what is no answer of gatepass's.
fn said(answer: &str) -> &str {
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    body.unwrap_or(answer).trim()
}

const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const READY: &str = "HTTP/1.1 200 ";

const PERIOD: Duration = Duration::from_millis(200);

/// For one question.
const PATIENCE: Duration = Duration::from_secs(5);

const LARGEST_ANSWER: u64 = 64 * 1024;
