//! What waits for a disk, off the thread that serves.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// A place on a disk: a file, some that are looked at together, or a directory.
///
/// Disks can hang: a mount whose server is gone, a file system whose daemon has died. No call can
/// interrupt the thread that waits for one. Whoever gives up comes again, and were another thread
/// lost to the same place each time, none would be left for those whose disks are well. So whoever
/// comes to a place that hangs waits until somebody comes back from there.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Semaphore>);

/// Of a place where one is at work at a time.
impl Default for Disk {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Disk {
    /// Of a place where so many may be at work at once.
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// Does what may block, when there is room. That may take for ever. What was begun goes on even
    /// if nobody waits for it any more; what was not is not begun then.
    ///
    /// # Errors
    ///
    /// The work panicked, or the runtime has ended.
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let here = Arc::clone(&self.0).acquire_owned().await;
        let here = here.map_err(io::Error::other)?;
        let anywhere = ANYWHERE.acquire().await.map_err(io::Error::other)?;
        let done = spawn_blocking(move || {
            // Given back by whoever comes back, not by whoever has given up.
            let _room = (here, anywhere);
            work()
        });
        done.await.map_err(io::Error::other)
    }
}

/// Name look-ups use the same threads. However many places hang, some are left for those.
static ANYWHERE: Semaphore = Semaphore::const_new(MOST);

/// How many places may hang before those whose disks are well have to wait as well.
pub(super) const MOST: usize = 56;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_place_that_hangs_costs_one_thread_and_no_other_place() {
        let (mount_is_back, hangs) = channel::<()>();
        let disk = Disk::default();
        let given_up = timeout(SHORT, disk.work(move || hangs.recv()));
        given_up.await.unwrap_err();
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let begun = Arc::clone(&begun);
            let begin = move || begun.fetch_add(1, Ordering::Relaxed);
            timeout(SHORT, disk.work(begin)).await.unwrap_err();
        }
        assert_eq!(Disk::default().work(|| 1).await.unwrap(), 1);
        drop(mount_is_back);
        assert_eq!(disk.work(|| 2).await.unwrap(), 2);
        // Nor was it only put off.
        assert_eq!(begun.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn who_panics_makes_room() {
        let disk = Disk::default();
        let wait = |never: Receiver<()>| move || never.recv().unwrap();
        let (sender, receiver) = channel();
        drop(sender);
        disk.work(wait(receiver)).await.unwrap_err();
        disk.work(|| ()).await.unwrap();
    }
}
