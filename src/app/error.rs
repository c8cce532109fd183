//! Why gatepass cannot be put together, or does not go on.

use std::{fmt, io};

use rustix::io::Errno;

use crate::runtime::WorkerPanicked;
use crate::server::Address;
use crate::wording::{RAISE_OPEN_FILES, Trouble};

/// Why gatepass could not be put together.
#[derive(Debug)]
pub enum BuildError {
    /// An address cannot be listened on.
    Listen {
        /// Which listener.
        listener: &'static str,
        /// The address.
        address: Address,
        /// What the operating system says.
        error: io::Error,
    },
    /// systemd has handed over what is no socket to listen on.
    Activation(io::Error),
    /// Strangers could use the credentials.
    Exposed(Address),
    /// A route names a credential that is not there.
    Credential {
        /// The route.
        route: String,
        /// The credential.
        credential: String,
    },
    /// A credential names a store that was not there at the start.
    Store {
        /// The credential.
        credential: String,
        /// The store.
        store: String,
    },
    /// The HTTP client for token endpoints could not be made.
    HttpClient(reqwest::Error),
    /// Two metrics have the same name.
    Metrics(prometheus::Error),
}

impl BuildError {
    pub(super) fn listen(listener: &'static str, address: Address, error: io::Error) -> Self {
        Self::Listen {
            listener,
            address,
            error,
        }
    }

    /// For whoever started it.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Listen {
                listener,
                address,
                error,
            } => Trouble::new(
                format!("the {listener} listener cannot use {address}"),
                error,
                listen_advice(listener, address, error),
            ),
            Self::Activation(error) => Trouble::new(
                "what systemd has handed over cannot be listened on",
                error,
                "see ListenStream= of the socket unit (systemctl cat gatepass.socket)",
            ),
            Self::Exposed(address) => Trouble::new(
                format!("the proxy listener {address} of systemd is not taken"),
                "other machines can reach it, and whoever reaches it acts with the credentials",
                "bind it to loopback (ListenStream=127.0.0.1:8080), let callers show a key \
                 (proxy.callers.key_file), or say with proxy.trust_network = true that only trusted \
                 callers can reach it",
            ),
            Self::Credential { route, credential } => Trouble::new(
                format!("route \"{route}\" has no credential"),
                format!("it needs \"{credential}\", which is not there"),
                REPORT,
            ),
            Self::Store { credential, store } => Trouble::new(
                format!("credential \"{credential}\" has no store"),
                format!("it needs \"{store}\", which was not there at the start"),
                "restart gatepass to have it",
            ),
            Self::HttpClient(error) => Trouble::new(
                "the HTTP client for the token endpoint could not be made",
                error,
                "check tls and egress_proxy of the credentials",
            ),
            Self::Metrics(error) => Trouble::new("the metrics do not fit together", error, REPORT),
        }
    }
}

/// In one sentence, as a log has it.
impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.trouble().in_one_line())
    }
}

impl std::error::Error for BuildError {}

impl From<reqwest::Error> for BuildError {
    fn from(error: reqwest::Error) -> Self {
        Self::HttpClient(error)
    }
}

impl From<prometheus::Error> for BuildError {
    fn from(error: prometheus::Error) -> Self {
        Self::Metrics(error)
    }
}

/// What to do about an address that cannot be had.
fn listen_advice(listener: &str, address: &Address, error: &io::Error) -> String {
    let flag = if listener == "admin" {
        "--admin-listen"
    } else {
        "--listen"
    };
    match error.kind() {
        _ if matches!(address, Address::Systemd(_)) => format!(
            "see the socket unit (systemctl cat gatepass.socket), or choose another address with {flag}"
        ),
        io::ErrorKind::AddrInUse => {
            format!("stop the process that listens there, or choose another address with {flag}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("choose another address with {flag}: this machine does not have that one")
        }
        io::ErrorKind::PermissionDenied => {
            format!("choose a port above 1023 with {flag}, or a path that this user may write to")
        }
        io::ErrorKind::NotFound => {
            format!("make the directory, or choose another address with {flag}")
        }
        _ if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => RAISE_OPEN_FILES.into(),
        _ => format!("choose another address with {flag}"),
    }
}

/// Why a running gatepass ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A worker could not be started.
    #[error("a data plane worker could not be started: {0}")]
    Worker(io::Error),
    /// A worker panicked. There is no safe way to go on without it: a supervisor's restart is.
    #[error(transparent)]
    Panicked(#[from] WorkerPanicked),
    /// A worker ended although nobody asked it to.
    #[error("a data plane worker ended without being asked to")]
    Unasked,
}

const REPORT: &str = "report it: this is a fault of gatepass";
