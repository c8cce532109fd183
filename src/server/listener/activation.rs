//! Sockets that systemd has bound and hands over (sd_listen_fds(3)).

use std::env;
use std::io;

use listenfd::ListenFd;

use super::Listening;

/// What systemd has handed to this process and nobody has taken yet, by `FileDescriptorName=` of the
/// socket's unit.
#[derive(Debug, Default)]
pub struct Activated(Vec<(String, Listening)>);

impl Activated {
    /// Takes over what the environment tells of. To be called once, for a second call would take the
    /// same sockets again.
    ///
    /// # Errors
    ///
    /// Something was handed over that is no socket to listen on.
    pub fn from_environment() -> io::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut handed = ListenFd::from_env();
        let sockets = (0..handed.len()).map(|index| {
            let name = names.next().unwrap_or_default();
            Ok((name, listening(&mut handed, index)?))
        });
        Ok(Self(sockets.collect::<io::Result<_>>()?))
    }

    /// Takes the sockets of this name, or all that are left.
    pub(super) fn take(&mut self, name: Option<&str>) -> io::Result<Vec<Listening>> {
        let wanted = |of: &str| name.is_none_or(|name| name == of);
        let (taken, left): (Vec<_>, Vec<_>) = self.0.drain(..).partition(|(name, _)| wanted(name));
        self.0 = left;
        if taken.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, self.what_is_left()));
        }
        Ok(taken.into_iter().map(|(_, socket)| socket).collect())
    }

    fn what_is_left(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        match names.as_slice() {
            [] => {
                "systemd has handed over no socket for it; start gatepass by its socket unit".into()
            }
            names => format!(
                "of the sockets that systemd has handed over there are left: {}",
                names.join(", ")
            ),
        }
    }
}

fn listening(handed: &mut ListenFd, index: usize) -> io::Result<Listening> {
    let is_gone = || io::Error::new(io::ErrorKind::NotFound, "a socket was handed over twice");
    if let Ok(socket) = handed.take_tcp_listener(index) {
        let socket = socket.ok_or_else(is_gone)?;
        socket.set_nonblocking(true)?;
        return Ok(Listening::Tcp(socket));
    }
    let socket = handed.take_unix_listener(index)?.ok_or_else(is_gone)?;
    socket.set_nonblocking(true)?;
    Ok(Listening::Unix(socket))
}
