//! A store in files: for the processes of one machine, and for those that come after them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::future::pending;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::backend::{Answer, Backend, Reading, StoreError, Swap};
use super::private_file;
use crate::runtime::Disk;
use crate::token::clock;

/// A directory with a file for each entry. Its clock is that of the machine.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    disk: Disk,
    /// How long another that writes to an entry is waited for.
    patience: Duration,
}

impl Directory {
    /// Names the directory; nothing is looked at yet. An entry that another process keeps locked is
    /// waited for as long as `patience`: a disk that is slow for a while must not cost a session.
    pub fn new(path: PathBuf, patience: Duration) -> Self {
        Self {
            path,
            disk: Disk::new(AT_ONCE),
            patience,
        }
    }

    /// Whether entries could be kept in a directory. It blocks, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// They could not.
    pub fn check_blocking(path: &Path) -> Result<(), StoreError> {
        let probe = path.join(format!("probe.{:016x}", fastrand::u64(..)));
        let written = private_file::replace(&probe, b"");
        let _ = fs::remove_file(&probe);
        written.map_err(|error| fault(path, &error))
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.disk.work(work).await.flatten();
        done.map_err(|error| fault(&self.path, &error))
    }

    /// Keeps the others out of an entry as long as it is there. Whoever gives up waiting leaves
    /// nothing behind: neither a thread that waits on, nor a change that comes after all.
    async fn lock(&self, entry: &Path) -> Result<File, StoreError> {
        let until = Instant::now() + self.patience;
        loop {
            let entry = entry.to_owned();
            if let Some(alone) = self.off_thread(move || try_lock(&entry)).await? {
                return Ok(alone);
            }
            if Instant::now() >= until {
                let error = io::Error::other("another process has locked it for too long");
                return Err(fault(&self.path, &error));
            }
            sleep(LOCK_PAUSE).await;
        }
    }
}

fn fault(directory: &Path, error: &io::Error) -> StoreError {
    let path = directory.display();
    StoreError::Directory(format!("in the directory {path} is no help: {error}"))
}

impl Backend for Directory {
    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Reading> {
        let path = self.path.join(name);
        Box::pin(self.off_thread(move || {
            Ok(Reading {
                bytes: read(&path)?,
                now: clock::unix_now(),
            })
        }))
    }

    fn swap<'a>(&'a self, name: &'a str, swap: Swap<'a>) -> Answer<'a, bool> {
        let path = self.path.join(name);
        let (old, new) = (swap.old.to_vec(), swap.new.to_vec());
        Box::pin(async move {
            let alone = self.lock(&path).await?;
            let written = self.off_thread(move || {
                let _alone = alone;
                if read(&path)? != old {
                    return Ok(false);
                }
                // Nobody else writes meanwhile; what is there was left by one that was killed.
                private_file::remove_leftovers(&path);
                private_file::replace(&path, &new)?;
                Ok(true)
            });
            written.await
        })
    }

    /// Whoever wants to know looks.
    fn news<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(pending())
    }

    fn brings_news(&self) -> bool {
        false
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(LARGEST_ENTRY).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Keeps the others out as long as it is there; nothing if another does. The kernel takes it away from
/// one that dies.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let mut name = path.to_owned().into_os_string();
    name.push(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(name)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// For how many entries at once: what many credentials ask of a slow disk is not to come one after the
/// other.
const AT_ONCE: usize = 4;

const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A token, a refresh token and the times of a thousand requests.
const LARGEST_ENTRY: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn directory() -> (tempfile::TempDir, Directory) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        (directory, Directory::new(path, PATIENCE))
    }

    async fn swap(store: &Directory, old: &[u8], new: &[u8]) -> Result<bool, StoreError> {
        let swap = Swap {
            old,
            new,
            keep_for: Duration::ZERO,
            is_news: true,
        };
        store.swap("a", swap).await
    }

    #[tokio::test]
    async fn an_entry_changes_only_from_what_it_was() {
        let (directory, store) = directory();
        Directory::check_blocking(directory.path()).unwrap();
        assert!(store.read("a").await.unwrap().bytes.is_empty());
        assert!(swap(&store, b"", b"one").await.unwrap());
        assert!(!swap(&store, b"", b"two").await.unwrap());
        assert!(swap(&store, b"one", b"two").await.unwrap());
        assert_eq!(store.read("a").await.unwrap().bytes, b"two");
        for entry in fs::read_dir(directory.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn one_that_is_stopped_with_the_lock_is_not_waited_for_without_end() {
        let (directory, store) = directory();
        let stopped = try_lock(&directory.path().join("a")).unwrap();
        let error = swap(&store, b"", b"one").await.unwrap_err().to_string();
        assert!(error.contains("locked it for too long"), "{error}");
        drop(stopped);
        assert!(swap(&store, b"", b"one").await.unwrap());
    }

    #[tokio::test]
    async fn what_is_given_up_on_is_not_written_later() {
        let (directory, store) = directory();
        let slow = try_lock(&directory.path().join("a")).unwrap();
        let given_up = timeout(PATIENCE / 5, swap(&store, b"", b"one")).await;
        given_up.unwrap_err();
        drop(slow);
        // As long as anything would have gone on trying.
        sleep(PATIENCE).await;
        assert!(store.read("a").await.unwrap().bytes.is_empty());
    }

    #[tokio::test]
    async fn what_a_killed_process_left_behind_is_removed() {
        let (directory, store) = directory();
        let left = private_file::beside(&directory.path().join("a"), "0123");
        fs::write(&left, "canary").unwrap();
        assert!(swap(&store, b"", b"one").await.unwrap());
        assert!(!left.exists());
    }

    #[test]
    fn a_directory_that_is_not_there_is_no_store() {
        let nowhere = Path::new("/nonexistent/tokens");
        let error = Directory::check_blocking(nowhere).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/tokens"), "{error}");
    }

    #[test]
    fn a_check_leaves_nothing_behind() {
        let (directory, _) = directory();
        Directory::check_blocking(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
