//! Debian's nginx as an HTTPS upstream with a certificate authority of its own. It asks the
//! provider about the token of every request (`auth_request`) and answers 401 if it is not good.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::eventually;

pub struct Nginx {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Nginx {
    /// Starts nginx and waits for it. `verify` is where tokens are judged.
    pub async fn start(verify: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_certificates(directory.path());
        fs::write(directory.path().join("page.txt"), "x".repeat(1024)).unwrap();
        // Free a moment ago; nothing else here takes ports by number.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = configuration(directory.path(), port, verify);
        fs::write(directory.path().join("nginx.conf"), config).unwrap();
        let child = Command::new("nginx")
            .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("nginx cannot be started ({error}): install nginx-light")
            });
        let nginx = Self {
            child,
            port,
            directory,
        };
        eventually("nginx listens", async || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        nginx
    }

    pub fn origin(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One process without a master, so that killing it leaves nothing behind.
fn configuration(directory: &Path, port: u16, verify: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "
        daemon off;
        master_process off;
        pid nginx.pid;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            upstream provider {{ server {verify}; keepalive 16; }}
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate {directory}/server.pem;
                ssl_certificate_key {directory}/server.key;
                root {directory};
                location / {{ auth_request /verify; try_files /page.txt =404; }}
                location = /verify {{
                    internal;
                    proxy_pass http://provider;
                    proxy_http_version 1.1;
                    proxy_set_header Connection \"\";
                    proxy_pass_request_body off;
                    proxy_set_header Content-Length \"\";
                }}
            }}
        }}
        "
    )
}

fn write_certificates(directory: &Path) {
    let authority = Authority::new();
    let server = authority.server();
    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    fs::write(directory.join("server.pem"), server.certificate).unwrap();
    fs::write(directory.join("server.key"), server.key).unwrap();
}
