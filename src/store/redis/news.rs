//! Hearing of news, on a connection of its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use ::redis::{PushInfo, PushKind, RedisError, RedisResult, Value, cmd};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{CHANNEL, Calls};

/// Who waits for news of which name.
#[derive(Default)]
pub(super) struct Bells {
    by_name: RefCell<HashMap<String, Rc<Notify>>>,
    /// Somebody listens at this moment.
    heard: Cell<bool>,
}

impl Bells {
    pub(super) fn of(&self, name: &str) -> Rc<Notify> {
        let mut by_name = self.by_name.borrow_mut();
        Rc::clone(by_name.entry(name.to_owned()).or_default())
    }

    /// Somebody listens at this moment.
    pub(super) fn are_heard(&self) -> bool {
        self.heard.get()
    }

    fn ring(&self, name: &[u8]) {
        let by_name = self.by_name.borrow();
        if let Some(bell) = std::str::from_utf8(name)
            .ok()
            .and_then(|name| by_name.get(name))
        {
            bell.notify_waiters();
        }
    }

    fn ring_all(&self) {
        for bell in self.by_name.borrow().values() {
            bell.notify_waiters();
        }
    }

    /// Listens for ever, again and again. Whoever waits looks for itself whenever that begins or
    /// ends, because nobody knows what was missed.
    pub(super) async fn listen(&self, calls: &Calls) {
        for turn in 0.. {
            if let Err(error) = self.listen_once(calls, turn).await {
                let error = calls.said(&error);
                debug!("news of the store are not heard: {error}");
            }
            self.heard.set(false);
            self.ring_all();
            sleep(LISTEN_AGAIN.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    async fn listen_once(&self, calls: &Calls, turn: usize) -> RedisResult<()> {
        // What does not fit is lost, and the connection with it.
        let (said, mut hears) = mpsc::channel(QUEUE);
        let config = calls
            .config()
            .set_push_sender(move |message: PushInfo| said.try_send(message));
        let subscribed = timeout(calls.time_out * 2, async {
            let client = calls.client(turn).await?;
            let connection = client.get_multiplexed_async_connection_with_config(&config);
            let mut connection = connection.await?;
            connection.subscribe(CHANNEL).await?;
            Ok::<_, RedisError>(connection)
        });
        let mut connection = subscribed.await.unwrap_or_else(|_| Err(too_late()))?;
        self.heard.set(true);
        self.ring_all();
        loop {
            tokio::select! {
                message = hears.recv() => match message {
                    Some(PushInfo { kind: PushKind::Message, data }) => {
                        if let [_, Value::BulkString(name)] = data.as_slice() {
                            self.ring(name);
                        }
                    }
                    None | Some(PushInfo { kind: PushKind::Disconnection, .. }) => {
                        return Ok(());
                    }
                    Some(_) => {}
                },
                // A connection that the network has forgotten brings no news and no error.
                () = sleep(ALIVE) => {
                    cmd("PING").query_async::<()>(&mut connection).await?;
                }
            }
        }
    }
}

fn too_late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

const QUEUE: usize = 64;

/// How often a connection is asked whether it is alive, and how soon another is tried.
const ALIVE: Duration = Duration::from_secs(10);
const LISTEN_AGAIN: Duration = Duration::from_secs(2);
