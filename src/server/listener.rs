//! The sockets that callers connect to: bound here, or handed over by systemd.

mod activation;
mod socket_file;

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustix::fs::Mode;
use rustix::process::umask;
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};

pub use activation::Activated;
pub(super) use socket_file::SocketFile;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On an IP address and a port.
    Tcp(SocketAddr),
    /// On a Unix socket with this path.
    Unix(PathBuf),
    /// On what systemd has bound: the sockets of this name, or all that are left.
    Systemd(Option<String>),
}

impl Address {
    /// Whether only this machine can reach it, as far as it is known before systemd's sockets are
    /// there.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) | Self::Systemd(_) => true,
        }
    }

    /// As a client would call it.
    pub fn url(&self, tls: bool) -> String {
        match (self, tls) {
            (Self::Tcp(address), false) => format!("http://{address}"),
            (Self::Tcp(address), true) => format!("https://{address}"),
            (other, false) => other.to_string(),
            (other, true) => format!("{other} with TLS"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(None) => f.write_str("systemd"),
            Self::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

/// Who may connect to a Unix socket: whoever may write to its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixAccess {
    /// The file's mode.
    pub mode: u32,
    /// The user whose file it becomes; otherwise gatepass's own.
    pub owner: Option<u32>,
    /// The group whose file it becomes; otherwise gatepass's own.
    pub group: Option<u32>,
}

impl Default for UnixAccess {
    fn default() -> Self {
        Self {
            mode: 0o600,
            owner: None,
            group: None,
        }
    }
}

/// How TLS is spoken with those who connect from now on: certificates are replaced while callers come.
pub type ServerTls = Arc<ArcSwap<ServerConfig>>;

/// A socket that callers connect to.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Listening,
    pub(super) tls: Option<ServerTls>,
    /// To be taken away when it is closed.
    pub(super) file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds an address and listens on it. Of what systemd has bound there may be several, or none.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used by this user; or systemd has
    /// handed over nothing of that name.
    pub fn bind(
        address: &Address,
        access: UnixAccess,
        activated: &mut Activated,
    ) -> io::Result<Vec<Self>> {
        let sockets = match address {
            Address::Tcp(address) => return Ok(vec![Self::bind_tcp(*address)?]),
            Address::Unix(path) => {
                let bound = Self::of(Listening::Unix(bind_unix(path, access)?));
                let file = Some(SocketFile::made_at(path)?);
                return Ok(vec![Self { file, ..bound }]);
            }
            // Its files are systemd's.
            Address::Systemd(name) => activated.take(name.as_deref())?,
        };
        Ok(sockets.into_iter().map(Self::of).collect())
    }

    /// Binds an address of TCP and listens on it.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used by this user.
    pub fn bind_tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // A restart must not wait for the last run's connections to leave TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self::of(Listening::Tcp(socket.into())))
    }

    fn of(socket: Listening) -> Self {
        Self {
            socket,
            tls: None,
            file: None,
        }
    }

    /// The same socket once more.
    ///
    /// # Errors
    ///
    /// The operating system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: match &self.socket {
                Listening::Tcp(listener) => Listening::Tcp(listener.try_clone()?),
                Listening::Unix(listener) => Listening::Unix(listener.try_clone()?),
            },
            tls: self.tls.clone(),
            file: self.file.clone(),
        })
    }

    /// Speaks TLS with whoever connects.
    #[must_use]
    pub fn with_tls(self, config: ServerTls) -> Self {
        Self {
            tls: Some(config),
            ..self
        }
    }

    /// Whether it does.
    pub fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Where it is bound.
    ///
    /// # Errors
    ///
    /// The operating system does not say.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match &self.socket {
            Listening::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Listening::Unix(listener) => {
                let address = listener.local_addr()?;
                Address::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned())
            }
        })
    }
}

/// A file that an earlier process has left behind is replaced; one at which somebody listens is not.
fn bind_unix(path: &Path, access: UnixAccess) -> io::Result<UnixListener> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            let what = "something else than a socket stands there, and is left alone";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    // The file comes into being with this mask, and there must be no moment in which others than
    // those who are meant can connect.
    let before = umask(Mode::RWXG | Mode::RWXO);
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound?;
    listener.set_nonblocking(true)?;
    if access.owner.is_some() || access.group.is_some() {
        chown(path, access.owner, access.group)?;
    }
    fs::set_permissions(path, Permissions::from_mode(access.mode))?;
    Ok(listener)
}

/// Connections that the kernel holds ready while gatepass is busy. A burst beyond it would be
/// retried by the callers' kernels only after a second.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path, access: UnixAccess) -> io::Result<Vec<Listener>> {
        let address = Address::Unix(path.to_owned());
        Listener::bind(&address, access, &mut Activated::default())
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_replaces_only_what_nobody_uses() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.sock");
        let access = UnixAccess {
            mode: 0o660,
            ..UnixAccess::default()
        };
        let first = bind(&path, access).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let taken = bind(&path, access).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(path.exists(), "left behind");
        bind(&path, access).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        bind(&path, UnixAccess::default()).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
