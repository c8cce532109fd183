//! The operators' listener. It goes on until all else has ended, so that the end can be watched.

use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use prometheus::IntCounterVec;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::error;

use super::supervised;
use crate::admin;
use crate::admin::Admin;
use crate::drain::{self, Drain, DrainWatch};
use crate::server::{self, Listener, ListenerMetrics};

pub(super) struct Operators {
    drain: Drain,
    ended: Rc<Notify>,
}

impl Operators {
    /// Serves them from now on. `admin` is made with what tells of the end.
    pub(super) fn serve(
        listener: Listener,
        metrics: ListenerMetrics,
        admin: impl FnOnce(DrainWatch) -> Admin,
        restarts: &IntCounterVec,
    ) -> Self {
        let (drain, watch) = drain::channel();
        let service = admin::service(admin(watch.clone()));
        let ended = Rc::new(Notify::new());
        let told = Rc::clone(&ended);
        let settings = server::Settings {
            max_connections: CONNECTIONS,
            stalled: STALLED,
            ..server::Settings::default()
        };
        supervised("admin listener", restarts, move || {
            let (service, watch, metrics) = (service.clone(), watch.clone(), metrics.clone());
            let ended = Rc::clone(&told);
            // The address stays bound whatever becomes of the task.
            let listener = listener.try_clone();
            async move {
                match listener {
                    Ok(listener) => {
                        let intake = server::alone(listener, settings.max_connections, metrics);
                        let refuse = server::refuse_briefly();
                        server::serve(intake, service, refuse, settings, watch).await;
                        // That was all: it is not to be started again.
                        ended.notify_one();
                        pending::<()>().await;
                    }
                    Err(error) => error!(%error, "the admin listener cannot be used"),
                }
            }
        });
        Self { drain, ended }
    }

    /// Lets answers end, and tells those who follow the events that there are no more.
    pub(super) async fn end(self) {
        self.drain.begin();
        let _ = timeout(GRACE, self.ended.notified()).await;
    }
}

/// Probes and scrapes; more at once is a mistake or an attack.
const CONNECTIONS: usize = 100;

/// For one who follows the events and takes nothing more.
const STALLED: Duration = Duration::from_secs(30);

/// For the last answers to end, once all else has.
const GRACE: Duration = Duration::from_millis(500);
