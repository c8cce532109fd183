//! A session in a file that only its owner can read.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::SavedSession;

/// The file of one session.
#[derive(Debug, Clone)]
pub struct SessionFile {
    path: PathBuf,
}

impl SessionFile {
    /// Names the file; nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What was saved last; nothing if there is no file yet.
    ///
    /// # Errors
    ///
    /// There is a file, and it cannot be read or is none of ours.
    pub async fn load(&self) -> Result<Option<SavedSession>, StoreError> {
        let file = self.clone();
        self.off_thread("read", move || file.load_blocking()).await
    }

    /// Puts a session in the place of the one before. Once this returns it survives the process and
    /// the machine; whoever reads meanwhile sees the one or the other, whole.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub async fn save(&self, session: SavedSession) -> Result<(), StoreError> {
        let file = self.clone();
        self.off_thread("written", move || file.save_blocking(&session))
            .await
    }

    /// Whether this could be the place of a session. Nothing is written. It blocks.
    ///
    /// # Errors
    ///
    /// What is there is none of ours, or there is no such directory.
    pub fn check_blocking(&self) -> Result<(), StoreError> {
        self.load_blocking()
            .map_err(|error| self.fault("read", error))?;
        let directory = fs::read_dir(self.directory());
        directory
            .map(drop)
            .map_err(|error| self.fault("written", error))
    }

    /// Disks can hang. The thread that waits for one is not one that serves; and work that was begun
    /// is finished even if nobody waits for it any more.
    async fn off_thread<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = spawn_blocking(work).await;
        let done = done.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        done.map_err(|error| self.fault(what, error))
    }

    fn load_blocking(&self) -> io::Result<Option<SavedSession>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(io::Error::other(format!(
                "others than its owner may read or write it (mode {:03o}); set it to 600",
                mode & 0o777
            )));
        }
        let mut text = Vec::new();
        file.take(LARGEST_SESSION).read_to_end(&mut text)?;
        // serde's own message may quote what it read.
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|_| io::Error::other("it holds no session of gatepass; remove it"))
    }

    fn save_blocking(&self, session: &SavedSession) -> io::Result<()> {
        let text = serde_json::to_vec(session)?;
        let beside = self.beside("new");
        let written = create_private(&beside).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written?;
        // The rename itself outlives the machine only when the directory is on the disk.
        File::open(self.directory())?.sync_all()
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}.{ending}", std::process::id()));
        name.into()
    }

    fn fault(&self, what: &'static str, error: io::Error) -> StoreError {
        StoreError {
            path: self.path.clone(),
            what,
            error,
        }
    }
}

/// A fresh file that only its owner can read, from its first moment on.
fn create_private(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    // The mask of the process may have taken a bit away.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Why a session cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("the session file {} cannot be {what}: {error}", path.display())]
pub struct StoreError {
    path: PathBuf,
    what: &'static str,
    error: io::Error,
}

/// Refresh tokens have a few kilobytes at most.
const LARGEST_SESSION: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

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
    async fn what_others_can_read_is_refused() {
        let (_directory, file) = file();
        file.save(session("canary")).await.unwrap();
        fs::set_permissions(&file.path, Permissions::from_mode(0o640)).unwrap();
        let error = file.load().await.unwrap_err().to_string();
        assert!(error.contains("mode 640"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_session_is_refused_without_quoting_it() {
        let (_directory, file) = file();
        let large = vec![b' '; 128 * 1024];
        for content in [&b"canary"[..], b"{}", b"\"canary\"", b"", b"\xff", &large] {
            fs::write(&file.path, content).unwrap();
            fs::set_permissions(&file.path, Permissions::from_mode(0o600)).unwrap();
            let error = file.load().await.unwrap_err().to_string();
            assert!(error.contains("holds no session"), "{error}");
            assert!(!error.contains("canary"), "{error}");
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
        fs::create_dir(file.beside("new")).unwrap();
        assert!(file.save(session("second")).await.is_err());
        let loaded = file.load().await.unwrap().unwrap();
        assert_eq!(loaded.refresh_token.expose_secret(), "first");
    }
}
