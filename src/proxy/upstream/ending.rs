//! How a connection ended on which a request got no answer.

use std::error::Error;
use std::io::{self, ErrorKind};

/// What has become of the connection, and so of the request.
pub(super) enum End {
    /// RFC 9113 §8.7: "The REFUSED_STREAM error code can be included in a RST_STREAM frame to
    /// indicate that the stream is being closed prior to any processing having occurred. Any
    /// request that was sent on the reset stream can be safely retried."
    ///
    /// The same: "The GOAWAY mechanism indicates the highest stream number that might have been
    /// processed. Requests on streams with higher numbers are therefore guaranteed to be safe to
    /// retry." h2 ends those by that error, and no others: those below go on, or end with the
    /// connection.
    NotProcessed,
    /// Reset, or found to lead nowhere.
    Vanished,
    /// Closed, as against something that is no HTTP.
    Closed,
    Otherwise,
}

impl End {
    /// By what hyper says.
    pub(super) fn of(error: &hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return Self::Closed;
        }
        // A ping was not answered. That is an error of hyper's own, and no h2::Error below.
        if error.is_timeout() {
            return Self::Vanished;
        }
        let Some(source) = error.source() else {
            return Self::Otherwise;
        };
        if let Some(error) = source.downcast_ref::<io::Error>() {
            return match error.kind() {
                // Not a broken pipe: that is a reset that follows a goodbye.
                ErrorKind::ConnectionReset
                | ErrorKind::TimedOut
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable => Self::Vanished,
                _ => Self::Closed,
            };
        }
        match source.downcast_ref::<h2::Error>() {
            Some(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => Self::NotProcessed,
            Some(error) if error.is_go_away() && error.is_remote() => Self::NotProcessed,
            Some(error) if error.is_io() || error.is_go_away() => Self::Closed,
            _ => Self::Otherwise,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use http::Request;
    use prometheus::IntGauge;
    use smallvec::SmallVec;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::connect::{Connected, over_http2};
    use super::super::held::Held;
    use super::*;
    use crate::proxy::body::OutgoingBody;

    /// An HTTP/2 connection whose other end says that it is there, and then nothing.
    #[tokio::test(flavor = "local", start_paused = true)]
    async fn an_unanswered_ping_is_the_end_of_a_connection() {
        let (near, mut far) = duplex(65_536);
        tokio::task::spawn_local(async move {
            // RFC 9113 §6.5: SETTINGS, with nothing in it.
            far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            while far.read(&mut [0; 4096]).await.unwrap() > 0 {}
        });
        let held = Held::count(&Rc::default(), IntGauge::new("open", "Open.").unwrap());
        let connected = over_http2(near, held.counted()).await.unwrap();
        let Connected::Http2(mut http2) = connected else {
            panic!("it is HTTP/2");
        };
        let request =
            Request::get("http://localhost/").body(OutgoingBody::Kept(SmallVec::new().into_iter()));
        let sent = http2.sender.try_send_request(request.unwrap());
        let mut error = sent.await.unwrap_err();
        assert!(error.take_message().is_none(), "it was on its way");
        let error = error.into_error();
        assert!(matches!(End::of(&error), End::Vanished), "{error:?}");
    }
}
