//! How servers are logged in to: by the settings, with the passwords of this moment.

use std::time::Duration;

use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisResult, TlsMode,
};
use secrecy::{ExposeSecret, SecretString};

use super::{DEFAULT_PORT, Node, Password, RedisSettings};

impl RedisSettings {
    /// With the passwords of this moment.
    pub(super) async fn access(&self) -> RedisResult<Access<'_>> {
        Ok(Access {
            settings: self,
            password: Password::read(self.password.as_ref()).await?,
            sentinel_password: Password::read(self.sentinel_password.as_ref()).await?,
        })
    }

    fn address(&self, node: &Node) -> ConnectionAddr {
        let (host, port) = (node.host.clone(), node.port);
        match self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        }
    }
}

/// The settings, and the passwords that they lead to.
pub(super) struct Access<'a> {
    settings: &'a RedisSettings,
    password: Option<SecretString>,
    sentinel_password: Option<SecretString>,
}

impl Access<'_> {
    pub(super) fn passwords(&self) -> impl Iterator<Item = &SecretString> {
        self.password.iter().chain(&self.sentinel_password)
    }

    /// RESP3 brings news on a connection that can still be asked whether it is alive.
    fn login(&self) -> RedisConnectionInfo {
        let mut login = RedisConnectionInfo::default()
            .set_db(self.settings.database)
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(username) = &self.settings.username {
            login = login.set_username(username);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password.expose_secret());
        }
        login
    }

    fn info(&self, node: &Node) -> RedisResult<ConnectionInfo> {
        let info = self.settings.address(node).into_connection_info()?;
        Ok(info.set_redis_settings(self.login()))
    }

    pub(super) fn client(&self, node: Option<&Node>) -> RedisResult<Client> {
        let nowhere = Node {
            host: "localhost".into(),
            port: DEFAULT_PORT,
        };
        let info = self.info(node.unwrap_or(&nowhere))?;
        match &self.settings.tls {
            None => Client::open(info),
            Some(tls) => Client::build_with_tls(info, tls.certificates.clone()),
        }
    }

    pub(super) fn cluster(&self, time_out: Duration) -> RedisResult<ClusterClient> {
        let nodes: Vec<_> = self
            .settings
            .nodes
            .iter()
            .map(|node| self.info(node))
            .collect::<RedisResult<_>>()?;
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(time_out)
            .response_timeout(time_out)
            .retries(2)
            .use_protocol(ProtocolVersion::RESP3);
        if let Some(username) = &self.settings.username {
            builder = builder.username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.password(password.expose_secret());
        }
        if let Some(tls) = &self.settings.tls {
            builder = builder.tls(TlsMode::Secure).certs(tls.certificates.clone());
        }
        builder.build()
    }

    pub(super) fn sentinels(&self, service: &str) -> RedisResult<SentinelClient> {
        let mut addresses: Vec<_> = self
            .settings
            .nodes
            .iter()
            .map(|node| self.settings.address(node))
            .collect();
        // One that swallows everything takes all the time there is. Another comes first next time.
        fastrand::shuffle(&mut addresses);
        let server = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(addresses, service, server)?
            .set_client_to_redis_db(self.settings.database)
            .set_client_to_redis_protocol(ProtocolVersion::RESP3);
        if let Some(username) = &self.settings.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password.expose_secret());
        }
        if let Some(username) = &self.settings.sentinel_username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &self.sentinel_password {
            builder = builder.set_client_to_sentinel_password(password.expose_secret());
        }
        if let Some(tls) = &self.settings.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(tls.certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(tls.certificates.clone());
        }
        builder.build()
    }
}
