//! A store in Redis or Valkey, for a fleet: one server, a Sentinel's, or a Cluster.
//!
//! An entry is one key, so a Cluster needs no more than one server for it. Scripts make reading and
//! swapping one step each, by the server's clock. Another connection hears of news.

mod access;
mod news;
mod scripts;

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult,
    ServerErrorKind, TlsCertificates, cmd,
};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::task::AbortOnDropHandle;

use super::backend::{Answer, Backend, Reading, StoreError, Swap};
use crate::runtime::{Disk, spawn};
use crate::wording::{Confidential, harmless};
use access::Access;
use news::Bells;
use scripts::{READ, SWAP, in_short};

/// Where a Redis is and how it is reached.
#[derive(Clone)]
pub struct RedisSettings {
    /// The server; several of a Cluster; or the Sentinels.
    pub nodes: Vec<Node>,
    /// What is behind them.
    pub topology: Topology,
    /// How TLS is spoken with them, if it is.
    pub tls: Option<RedisTls>,
    /// The name of an ACL user.
    pub username: Option<String>,
    /// Its password, or that of all.
    pub password: Option<Password>,
    /// The name of an ACL user of the Sentinels.
    pub sentinel_username: Option<String>,
    /// Its password, or that of all, at the Sentinels.
    pub sentinel_password: Option<Password>,
    /// The number of the database.
    pub database: i64,
}

/// Whom to trust, and the certificate to show.
#[derive(Clone)]
pub struct RedisTls {
    /// As the Redis client wants it: PEM. The authorities of the machine, and no certificate, if nothing
    /// stands here.
    pub certificates: TlsCertificates,
    /// For those who look at the way there.
    pub client_config: Arc<ClientConfig>,
}

/// A password that may be replaced: it is read again for each connection.
#[derive(Clone)]
pub struct Password {
    read: Arc<dyn Fn() -> Result<SecretString, String> + Send + Sync>,
    disk: Disk,
}

impl Password {
    /// `read` may block; what it says when it fails holds no secret.
    pub fn new(read: impl Fn() -> Result<SecretString, String> + Send + Sync + 'static) -> Self {
        Self {
            read: Arc::new(read),
            disk: Disk::default(),
        }
    }

    async fn read(this: Option<&Self>) -> RedisResult<Option<SecretString>> {
        let Some(Self { read, disk }) = this.cloned() else {
            return Ok(None);
        };
        let read = disk.work(move || read()).await;
        let read = read.unwrap_or_else(|error| Err(error.to_string()));
        let refused = |what| RedisError::from(std::io::Error::other(what));
        read.map(Some).map_err(refused)
    }
}

/// One server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name or number.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How servers work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// There is one.
    Standalone,
    /// Sentinels say which one writes for the service of this name.
    Sentinel(String),
    /// Each has a part of the keys.
    Cluster,
}

/// Without secrets.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("nodes", &self.nodes)
            .field("topology", &self.topology)
            .finish_non_exhaustive()
    }
}

/// A Redis, connected to when it is needed.
pub struct Redis {
    calls: Rc<Calls>,
    bells: Rc<Bells>,
    /// Begins with the first who wants news.
    listener: RefCell<Option<AbortOnDropHandle<()>>>,
}

impl Redis {
    /// Names it; nothing is sent yet. A call takes `time_out` at most.
    pub fn new(settings: RedisSettings, time_out: Duration) -> Self {
        Self {
            calls: Rc::new(Calls {
                settings,
                time_out,
                connection: RefCell::default(),
                confidential: RefCell::default(),
            }),
            bells: Rc::default(),
            listener: RefCell::default(),
        }
    }

    fn listen(&self) {
        let mut listener = self.listener.borrow_mut();
        if listener.is_none() {
            let (calls, bells) = (Rc::clone(&self.calls), Rc::clone(&self.bells));
            let task = spawn(async move { bells.listen(&calls).await });
            listener.replace(AbortOnDropHandle::new(task));
        }
    }
}

impl Backend for Redis {
    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Reading> {
        Box::pin(async move {
            let mut read = cmd("EVAL");
            read.arg(READ).arg(1).arg(name);
            let (bytes, (seconds, micros)) = self
                .calls
                .call::<(Option<Vec<u8>>, (u64, u32))>(&read)
                .await?;
            Ok(Reading {
                bytes: bytes.unwrap_or_default(),
                now: Duration::new(seconds, micros.min(999_999) * 1_000),
            })
        })
    }

    fn swap<'a>(&'a self, name: &'a str, swap: Swap<'a>) -> Answer<'a, bool> {
        Box::pin(async move {
            let keep_for = u64::try_from(swap.keep_for.as_millis()).unwrap_or(u64::MAX);
            let mut command = cmd("EVAL");
            command.arg(SWAP).arg(1).arg(name);
            command.arg(swap.old).arg(swap.new).arg(keep_for.max(1));
            command.arg(u8::from(swap.is_news)).arg(CHANNEL);
            self.calls.call(&command).await
        })
    }

    fn news<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        self.listen();
        let bell = self.bells.of(name);
        Box::pin(async move { bell.notified().await })
    }

    fn brings_news(&self) -> bool {
        self.bells.are_heard()
    }
}

/// The connection on which entries are read and swapped.
struct Calls {
    settings: RedisSettings,
    time_out: Duration,
    connection: RefCell<Option<Connection>>,
    /// What servers have been told and might repeat.
    confidential: RefCell<Confidential>,
}

#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Calls {
    /// One command, on the connection that is there or a new one.
    async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        // One that does not answer is not asked again: it may have been cut off, or be the server of
        // yesterday. That goes for a call that is given up, too.
        let mut doubt = Doubt(Some(&self.connection));
        let known = self.connection.borrow().clone();
        let mut connection = match known {
            Some(connection) => connection,
            None => self.connect().await.map_err(|error| self.fault(&error))?,
        };
        let answer = match &mut connection {
            Connection::Single(single) => command.query_async(single).await,
            Connection::Cluster(cluster) => command.query_async(cluster).await,
        };
        let answer = answer.map_err(|error| self.fault(&error))?;
        self.connection.replace(Some(connection));
        doubt.0 = None;
        Ok(answer)
    }

    async fn connect(&self) -> RedisResult<Connection> {
        if self.settings.topology == Topology::Cluster {
            let access = self.access().await?;
            let cluster = access.cluster(self.time_out)?;
            let connection = cluster.get_async_connection().await?;
            return Ok(Connection::Cluster(connection));
        }
        let client = self.client(0).await?;
        let config = self.config();
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Connection::Single(connection.await?))
    }

    async fn access(&self) -> RedisResult<Access<'_>> {
        let access = self.settings.access().await?;
        for password in access.passwords() {
            let mut confidential = self.confidential.borrow_mut();
            confidential.add(password.expose_secret());
        }
        Ok(access)
    }

    /// The server that writes; of a Cluster any one, another with each `turn`.
    async fn client(&self, turn: usize) -> RedisResult<Client> {
        let access = self.access().await?;
        match &self.settings.topology {
            Topology::Sentinel(service) => {
                let mut sentinels = access.sentinels(service)?;
                sentinels.async_get_client().await
            }
            Topology::Standalone | Topology::Cluster => {
                let nodes = &self.settings.nodes;
                let node = nodes.get(turn % nodes.len().max(1));
                access.client(node)
            }
        }
    }

    fn fault(&self, error: &RedisError) -> StoreError {
        let denied = |advice| StoreError::Denied {
            why: format!("says no: {}", self.said(error)),
            advice,
        };
        match error.kind() {
            _ if error.is_timeout() => StoreError::TooLate(self.time_out),
            ErrorKind::AuthenticationFailed => denied(WHO),
            ErrorKind::Server(ServerErrorKind::NoPerm) => denied(RIGHTS),
            _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => denied(WHO),
            _ if error.to_string().contains("unknown command") => denied(COMMANDS),
            _ => StoreError::Unavailable(format!("is no help: {}", self.said(error))),
        }
    }

    /// What a server says, on one line. One that does not know a command repeats what came with it,
    /// and with HELLO (RESP3) comes the password.
    fn said(&self, error: &RedisError) -> String {
        let said = in_short(error).replace('\n', " ");
        harmless(self.confidential.borrow().blot_out(&said).trim_end())
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.time_out))
            .set_response_timeout(Some(self.time_out))
    }
}

/// Forgets a connection unless the doubt is taken away.
struct Doubt<'a>(Option<&'a RefCell<Option<Connection>>>);

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            connection.replace(None);
        }
    }
}

const WHO: &str = "check username, and password or password_file, of the store";
const RIGHTS: &str = "have the user allowed EVAL, GET, SET, TIME and PUBLISH on gatepass:*";

const COMMANDS: &str =
    "see that it is Redis 6 or later, or Valkey, and has the command by this name";

/// Where it is said which entry is new.
const CHANNEL: &str = "gatepass";

/// The one that Redis has registered.
pub const DEFAULT_PORT: u16 = 6379;
