//! Files that only their owner can read, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Puts these bytes in the place of what the file held. Once this returns they survive the process
/// and the machine; whoever reads meanwhile sees the one or the other, whole.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path, &format!("{:016x}", fastrand::u64(..)));
    let written = create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    // The rename itself outlives the machine only when the directory is on the disk. A file system
    // that cannot say so has it all the same.
    let _ = File::open(directory(path)).and_then(|directory| directory.sync_all());
    Ok(())
}

/// Removes what processes have left behind that were killed while they replaced the file. There
/// must not be one that does so now.
pub(super) fn remove_leftovers(path: &Path) {
    let Some(name) = path.file_name() else {
        return;
    };
    let prefix = format!("{}{BESIDE}", name.to_string_lossy());
    let entries = fs::read_dir(directory(path))
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The directory that a file is in.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file that is about to take the place of another.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(format!("{BESIDE}{ending}"));
    name.into()
}

/// A fresh file that only its owner can read, from its first moment on.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Between the file's name and what tells a new one apart.
const BESIDE: &str = ".new-";
