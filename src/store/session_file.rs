//! A session in a file that only its owner can read.

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;

use super::{SavedSession, private_file};
use crate::ordinary_file;
use crate::runtime::Disk;

/// The file of one session. It belongs to one process.
#[derive(Debug, Clone)]
pub struct SessionFile {
    path: PathBuf,
    disk: Disk,
    /// What is to be written next. A disk that hangs holds a save up beyond the attempt that it
    /// belongs to; when it comes back, what came last is what stays.
    next: Arc<Mutex<Option<SavedSession>>>,
}

impl SessionFile {
    /// Names the file; nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            disk: Disk::default(),
            next: Arc::default(),
        }
    }

    /// What was saved last; nothing if there is no file yet.
    ///
    /// # Errors
    ///
    /// There is a file, and it cannot be read or is none of ours.
    pub async fn load(&self) -> Result<Option<SavedSession>, SessionFileError> {
        let file = self.clone();
        let load = move || {
            // A process that was killed while it saved has left its refresh token behind.
            private_file::remove_leftovers(&file.target()?);
            let session = file.load_blocking()?;
            if session.is_some() {
                file.make_private();
            }
            Ok(session)
        };
        self.off_thread("read", load).await
    }

    /// Puts a session in the place of the one before. Once this returns it survives the process and
    /// the machine; whoever reads meanwhile sees the one or the other, whole.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub async fn save(&self, session: SavedSession) -> Result<(), SessionFileError> {
        let file = self.clone();
        self.next().replace(session);
        self.off_thread("written", move || file.save_next()).await
    }

    /// What is said when a save takes too long.
    pub fn hangs(&self, limit: Duration) -> SessionFileError {
        let what = format!("the file system has not answered within {limit:?}");
        self.fault("written", io::Error::other(what))
    }

    /// Whether this could be the place of a session. Nothing is written. It blocks.
    ///
    /// # Errors
    ///
    /// What is there is none of ours, or there is no such directory.
    pub fn check_blocking(&self) -> Result<(), SessionFileError> {
        let loaded = self.load_blocking();
        loaded.map_err(|error| self.fault("read", error))?;
        let directory = |target: PathBuf| fs::read_dir(private_file::directory(&target));
        let there = self.target().and_then(directory);
        there
            .map(drop)
            .map_err(|error| self.fault("written", error))
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, SessionFileError> {
        let done = self.disk.work(work).await.flatten();
        done.map_err(|error| self.fault(what, error))
    }

    /// Others than its owner may read it: Kubernetes does that to volumes when it mounts them.
    /// Where it cannot be undone (the file is another's, or its file system knows no modes) the session
    /// is good all the same.
    fn make_private(&self) {
        let Ok(metadata) = fs::metadata(&self.path) else {
            return;
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 == 0 {
            return;
        }
        let (file, mode) = (self.path.display(), format!("{mode:03o}"));
        match fs::set_permissions(&self.path, Permissions::from_mode(0o600)) {
            Ok(()) => warn!(
                %file,
                mode,
                "others than its owner could read the session file; it is made private"
            ),
            Err(error) => warn!(
                %file,
                mode,
                %error,
                "others than its owner can read the session file, and it cannot be made private"
            ),
        }
    }

    /// Where it is, if its path is a link.
    fn target(&self) -> io::Result<PathBuf> {
        private_file::behind_links(&self.path)
    }

    fn load_blocking(&self) -> io::Result<Option<SavedSession>> {
        let (mut file, _) = match ordinary_file::open(&self.path, LARGEST_SESSION) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        // Made by `touch`, so that a container has a file to mount.
        if text.is_empty() {
            return Ok(None);
        }
        // serde's own message may quote what it read.
        serde_json::from_slice(&text).map(Some).map_err(|_| {
            io::Error::other(
                "it holds something else than a session of gatepass, or only a part of one; move it away, \
                 or name another file",
            )
        })
    }

    /// Goes on as long as there is something: whoever brought it may wait no longer.
    fn save_next(&self) -> io::Result<()> {
        loop {
            let Some(session) = self.next().take() else {
                return Ok(());
            };
            if let Err(error) = self.save_blocking(&session) {
                // Whoever still waits with it is to see for himself.
                self.next().get_or_insert(session);
                return Err(error);
            }
        }
    }

    /// Held for a look. Whoever panics meanwhile leaves it whole.
    fn next(&self) -> MutexGuard<'_, Option<SavedSession>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save_blocking(&self, session: &SavedSession) -> io::Result<()> {
        private_file::replace(&self.target()?, &serde_json::to_vec(session)?)
    }

    fn fault(&self, what: &'static str, error: io::Error) -> SessionFileError {
        SessionFileError {
            path: self.path.clone(),
            what,
            error,
        }
    }
}

/// Why a session cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("the session file {} cannot be {what}: {error}", path.display())]
pub struct SessionFileError {
    path: PathBuf,
    what: &'static str,
    error: io::Error,
}

/// Refresh tokens have a few kilobytes at most.
const LARGEST_SESSION: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::{Sender, channel};

    use secrecy::ExposeSecret;
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    impl SessionFile {
        /// Has its disk hang until what is returned is dropped.
        pub(crate) async fn hang(&self) -> Sender<()> {
            let (disk_is_back, hangs) = channel::<()>();
            let load = move || {
                let _ = hangs.recv();
                Ok(())
            };
            let given_up = timeout(SHORT, self.off_thread("read", load)).await;
            given_up.unwrap_err();
            disk_is_back
        }
    }

    fn session(token: &str) -> SavedSession {
        SavedSession {
            identity: "digest".into(),
            refresh_token: token.into(),
        }
    }

    fn file() -> (tempfile::TempDir, SessionFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session");
        (directory, SessionFile::new(path))
    }

    #[tokio::test]
    async fn what_is_saved_is_there_and_private() {
        let (directory, file) = file();
        assert!(file.load().await.unwrap().is_none());
        for token in ["first", "second"] {
            file.save(session(token)).await.unwrap();
            let loaded = file.load().await.unwrap().unwrap();
            assert_eq!(loaded.refresh_token.expose_secret(), token);
            assert_eq!(loaded.identity, "digest");
        }
        let mode = fs::metadata(&file.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        file.check_blocking().unwrap();
        let files = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside it");
    }

    #[tokio::test]
    async fn what_others_can_read_is_made_private() {
        let (_directory, file) = file();
        file.save(session("canary")).await.unwrap();
        fs::set_permissions(&file.path, Permissions::from_mode(0o660)).unwrap();
        file.check_blocking().unwrap();
        let loaded = file.load().await.unwrap().unwrap();
        assert_eq!(loaded.refresh_token.expose_secret(), "canary");
        let mode = fs::metadata(&file.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn an_older_save_does_not_win_over_a_newer_one() {
        let (_directory, file) = file();
        let (disk_is_back, hangs) = channel::<()>();
        file.next().replace(session("older"));
        let older = file.clone();
        let save = move || {
            let _ = hangs.recv();
            older.save_next()
        };
        let given_up = timeout(SHORT, file.off_thread("written", save)).await;
        given_up.unwrap_err();
        let given_up = timeout(SHORT, file.save(session("newer"))).await;
        given_up.unwrap_err();
        drop(disk_is_back);
        let loaded = file.load().await.unwrap().unwrap();
        assert_eq!(loaded.refresh_token.expose_secret(), "newer");
    }

    #[tokio::test]
    async fn a_save_that_failed_is_not_taken_for_one_that_did_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = SessionFile::new(directory.path().join("none/session"));
        file.save(session("first")).await.unwrap_err();
        file.off_thread("written", {
            let file = file.clone();
            move || file.save_next()
        })
        .await
        .unwrap_err();
    }

    #[tokio::test]
    async fn what_a_killed_process_left_behind_is_removed() {
        let (directory, file) = file();
        fs::write(private_file::beside(&file.path, "0123"), "canary").unwrap();
        fs::write(directory.path().join("session-of-another"), "").unwrap();
        assert!(file.load().await.unwrap().is_none());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn what_is_no_session_is_refused_without_quoting_it() {
        let (_directory, file) = file();
        let large = vec![b' '; 128 * 1024];
        for content in [&b"canary"[..], b"{}", b"\"canary\"", b" ", b"\xff", &large] {
            fs::write(&file.path, content).unwrap();
            fs::set_permissions(&file.path, Permissions::from_mode(0o600)).unwrap();
            let error = file.load().await.unwrap_err().to_string();
            assert!(error.contains("something else than a session"), "{error}");
            assert!(error.contains("move it away"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_empty_file_is_no_session_yet() {
        let (_directory, file) = file();
        fs::write(&file.path, "").unwrap();
        file.check_blocking().unwrap();
        assert!(file.load().await.unwrap().is_none());
    }

    #[test]
    fn what_is_no_ordinary_file_is_told() {
        let file = SessionFile::new("/dev/zero".into());
        let error = file.check_blocking().unwrap_err().to_string();
        assert!(error.contains("it is no ordinary file"), "{error}");
    }

    #[tokio::test]
    async fn of_a_link_the_target_is_what_is_replaced() {
        let (directory, file) = file();
        let target = directory.path().join("volume/session");
        symlink("volume/session", &file.path).unwrap();
        let error = file.check_blocking().unwrap_err().to_string();
        assert!(error.contains("cannot be written: No such file"), "{error}");
        fs::create_dir(directory.path().join("volume")).unwrap();
        file.check_blocking().unwrap();
        for token in ["first", "second"] {
            file.save(session(token)).await.unwrap();
            fs::write(private_file::beside(&target, "0123"), "canary").unwrap();
            let loaded = file.load().await.unwrap().unwrap();
            assert_eq!(loaded.refresh_token.expose_secret(), token);
            assert!(file.path.is_symlink());
            let volume = fs::read_dir(private_file::directory(&target)).unwrap();
            assert_eq!(volume.count(), 1, "nothing is left beside it");
        }
    }

    #[tokio::test]
    async fn a_failed_save_leaves_what_was_there() {
        let (directory, file) = file();
        let nowhere = SessionFile::new(directory.path().join("none/session"));
        let error = nowhere
            .save(session("canary"))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("cannot be written: No such file"), "{error}");
        assert!(nowhere.check_blocking().is_err());
        file.save(session("first")).await.unwrap();
        let permissions = |mode| Permissions::from_mode(mode);
        fs::set_permissions(directory.path(), permissions(0o500)).unwrap();
        let refused = file.save(session("second")).await;
        fs::set_permissions(directory.path(), permissions(0o700)).unwrap();
        // A privileged user writes all the same.
        let expected = if refused.is_err() { "first" } else { "second" };
        let loaded = file.load().await.unwrap().unwrap();
        assert_eq!(loaded.refresh_token.expose_secret(), expected);
    }
}
