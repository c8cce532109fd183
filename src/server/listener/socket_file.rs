//! The file of a Unix socket, which stays where it is when the socket is closed.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that this process has made. Clones are the same.
#[derive(Debug, Clone)]
pub(in super::super) struct SocketFile(Arc<Made>);

#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    pub(super) fn made_at(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(Made {
            path: path.to_owned(),
            identity: identity(path)?,
        })))
    }

    /// Takes it away, unless somebody else's stands there by now: another gatepass may have taken over.
    pub(in super::super) fn remove(&self) {
        let Made {
            path,
            identity: own,
        } = &*self.0;
        if identity(path).is_ok_and(|found| found == *own) {
            // Where that is not allowed, the next start replaces it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Of a socket, and of nothing else.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    match found.file_type().is_socket() {
        true => Ok((found.dev(), found.ino())),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_its_own_file_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.sock");
        let _own = UnixListener::bind(&path).unwrap();
        let file = SocketFile::made_at(&path).unwrap();
        // Beside it, so that it cannot have the same number.
        let beside = directory.path().join("beside.sock");
        let _of_another = UnixListener::bind(&beside).unwrap();
        let own = directory.path().join("own.sock");
        fs::rename(&path, &own).unwrap();
        fs::rename(&beside, &path).unwrap();
        file.remove();
        assert!(path.exists(), "somebody else's");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "no socket").unwrap();
        file.remove();
        assert!(path.exists(), "no socket");
        fs::rename(&own, &path).unwrap();
        file.remove();
        assert!(!path.exists());
        file.remove();
    }
}
