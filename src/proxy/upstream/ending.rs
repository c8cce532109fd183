//! How a connection ended on which a request got no answer.

use std::error::Error;
use std::io::{self, ErrorKind};

/// What has become of the connection, and so of the request.
pub(super) enum End {
    /// RFC 9113 §8.7: "The REFUSED_STREAM error code can be included in a RST_STREAM frame to
    /// indicate that the stream is being closed prior to any processing having occurred. Any
    /// request that was sent on the reset stream can be safely retried."
    NotProcessed,
    /// The same, where nothing is wrong with the connection: "The GOAWAY mechanism indicates the highest
    /// stream number that might have been processed. Requests on streams with higher numbers are therefore guaranteed to be safe to
    /// retry." h2 ends those by that error, and no others: those below go on, or end with the
    /// connection.
    Left,
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
            Some(error) if error.is_go_away() && error.is_remote() => match error.reason() {
                Some(h2::Reason::NO_ERROR) => Self::Left,
                _ => Self::NotProcessed,
            },
            Some(error) if error.is_io() || error.is_go_away() => Self::Closed,
            _ => Self::Otherwise,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::rc::Rc;
    use std::time::Duration;

    use http::Request;
    use hyper::client::conn::TrySendError;
    use smallvec::SmallVec;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

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
        let held = Held::one_of(&Rc::default());
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

    /// gRPC's servers want five minutes between two of them, if nobody has told them otherwise.
    #[tokio::test(flavor = "local", start_paused = true)]
    async fn pings_in_a_silent_stream_are_as_rare_as_grpc_wants_them() {
        let (near, far) = duplex(65_536);
        let mut pings = pin!(answer_pings(far));
        let held = Held::one_of(&Rc::default());
        let connected = tokio::select! {
            connected = over_http2(near, held.counted()) => connected.unwrap(),
            _ = pings.as_mut() => panic!("nothing is silent yet"),
        };
        let Connected::Http2(mut http2) = connected else {
            panic!("it is HTTP/2");
        };
        let request =
            Request::get("http://localhost/").body(OutgoingBody::Kept(SmallVec::new().into_iter()));
        let mut last = Instant::now();
        let sent = http2.sender.try_send_request(request.unwrap());
        let pings = tokio::select! {
            pings = pings => pings,
            ended = sent => panic!("it goes on: {:?}", ended.map_err(TrySendError::into_error)),
        };
        for ping in pings {
            assert!(ping - last >= Duration::from_mins(5), "{:?}", ping - last);
            last = ping;
        }
    }

    /// The other end of an HTTP/2 connection, which answers three pings and nothing else. Says when
    /// they came.
    async fn answer_pings(mut far: DuplexStream) -> Vec<Instant> {
        far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        far.read_exact(&mut [0; 24]).await.unwrap();
        let mut pings = Vec::new();
        while pings.len() < 3 {
            let mut head = [0; 9];
            far.read_exact(&mut head).await.unwrap();
            let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
            let mut payload = vec![0; length];
            far.read_exact(&mut payload).await.unwrap();
            // RFC 9113 §6.7: PING is of type 6, and flag 1 says that it is an answer.
            if head[3..5] == [6, 0] {
                pings.push(Instant::now());
                far.write_all(&[0, 0, 8, 6, 1, 0, 0, 0, 0]).await.unwrap();
                far.write_all(&payload).await.unwrap();
            }
        }
        pings
    }
}
