//! An address where nobody listens.

use tokio::net::TcpSocket;

/// An address where nobody listens, and nobody else can as long as this is kept: a port that is given
/// back is soon another server's.
pub struct Nobody(TcpSocket);

impl Nobody {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }
}
