//! Questions to the admin listener of a gatepass that runs on this machine.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{Failure, FileArguments, status};
use crate::config::{self, Flags, Layers};
use crate::server::Address;

/// Which gatepass is meant.
#[derive(Debug, Args)]
pub(super) struct AdminArguments {
    #[command(flatten)]
    file: FileArguments,

    /// Where to ask: the admin listener's address, without a look at a configuration
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "profile"])]
    admin_listen: Option<String>,
}

impl AdminArguments {
    /// Where its admin listener is.
    pub(super) fn address(self) -> Result<Address, Failure> {
        let layers = match self.admin_listen {
            Some(admin_listen) => Layers {
                flags: Flags {
                    admin_listen: Some(admin_listen),
                    ..Flags::default()
                },
                ..Layers::default()
            },
            None => self.file.layers_or(OR_THE_ADDRESS)?,
        };
        Ok(config::admin_address(&layers)?)
    }
}

const OR_THE_ADDRESS: &str = ", or its admin listener's address by --admin-listen ADDRESS";

/// What the listener says.
pub(super) struct Answer {
    /// Whether the status is 200.
    pub(super) is_good: bool,
    /// The body, or all of what is no answer of gatepass's.
    pub(super) text: String,
}

/// Asks once. The admin listener's answers have a length and end with the connection.
pub(super) fn get(address: &Address, path: &str) -> io::Result<Answer> {
    let answer = match address {
        Address::Tcp(address) => {
            let stream = connect(*address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, path)
        }
        Address::Unix(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, path)
        }
        Address::Systemd(_) => Err(io::Error::other(
            "only systemd knows where it listens; say it with --admin-listen",
        )),
    }?;
    Ok(Answer {
        is_good: answer.starts_with(GOOD),
        text: match answer.split_once("\r\n\r\n") {
            Some((_, body)) => body.trim().to_owned(),
            None => answer,
        },
    })
}

/// Whether the gatepass that answers at the admin address, if one does, listens there.
pub(super) fn is_of_running(address: &Address, admin: &Address) -> bool {
    let answer = get(admin, "/api/status").ok();
    let answer = answer.filter(|answer| answer.is_good);
    let Some(status) = answer.and_then(|answer| status::read(&answer.text)) else {
        return false;
    };
    let proxy = status.get("proxy").and_then(Value::as_array);
    let shown = address.to_string();
    address == admin || proxy.is_some_and(|all| all.iter().any(|of| *of == *shown))
}

/// What listens on all addresses is asked on loopback: on that of IPv4 too, since in many containers
/// `[::]` can be listened on, and IPv6 is off.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let at = |ip: IpAddr| SocketAddr::new(ip, address.port());
    let connect = |address| TcpStream::connect_timeout(&address, PATIENCE);
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => connect(at(Ipv4Addr::LOCALHOST.into())),
        IpAddr::V6(ip) if ip.is_unspecified() => connect(at(Ipv6Addr::LOCALHOST.into()))
            .or_else(|_| connect(at(Ipv4Addr::LOCALHOST.into()))),
        _ => connect(address),
    }
}

fn exchange(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

const GOOD: &str = "HTTP/1.1 200 ";

/// For one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// The status of some thousand routes.
const LARGEST_ANSWER: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Somebody who goes on and on.
    struct Endless(u64);

    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            into.fill(b'x');
            let left = self.0.min(into.len() as u64);
            self.0 -= left;
            Ok(usize::try_from(left).unwrap())
        }
    }

    impl Write for Endless {
        fn write(&mut self, request: &[u8]) -> io::Result<usize> {
            Ok(request.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_answer_is_read_to_its_end_or_to_as_much_as_a_status_has() {
        let told = exchange(Endless(2 * LARGEST_ANSWER), "/").unwrap();
        assert_eq!(told.len() as u64, LARGEST_ANSWER);
        assert_eq!(exchange(Endless(5), "/").unwrap(), "xxxxx");
    }

    #[test]
    fn where_ipv6_is_off_what_listens_on_all_addresses_is_asked_by_ipv4() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        connect(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).unwrap();
    }
}
