//! Files that only their owner can read, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

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

/// Where the links lead that stand in the place of a file: it is what has to be replaced, and they stay.
/// Nothing needs to be there yet.
///
/// One that others have put into a directory where everybody may write is not followed, but replaced: it
/// leads to what they may not write themselves. The rule is that of Linux (`protected_symlinks`, proc(5)).
pub(super) fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(link) = fs::symlink_metadata(&path) else {
            return Ok(path);
        };
        let is_trusted = || -> io::Result<bool> {
            let owner = fs::metadata(directory(&path))?.uid();
            Ok([geteuid().as_raw(), owner].contains(&link.uid()))
        };
        if !link.is_symlink() || !is_trusted()? {
            return Ok(path);
        }
        path = directory(&path).join(fs::read_link(&path)?);
    }
    Err(io::Error::other(
        "it is a link that leads to more and more links",
    ))
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

/// Linux follows as many.
const MOST_LINKS: usize = 40;

/// Between the file's name and what tells a new one apart.
const BESIDE: &str = ".new-";

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use super::*;

    #[test]
    fn links_are_followed_one_after_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        symlink("second", path("first")).unwrap();
        symlink(path("third"), path("second")).unwrap();
        for name in ["first", "second", "third"] {
            assert_eq!(behind_links(&path(name)).unwrap(), path("third"));
        }
        symlink("b", path("a")).unwrap();
        symlink("a", path("b")).unwrap();
        behind_links(&path("a")).unwrap_err();
    }

    #[test]
    fn one_that_others_have_planted_is_replaced_itself() {
        let shared = tempfile::tempdir().unwrap();
        fs::set_permissions(shared.path(), Permissions::from_mode(0o1777)).unwrap();
        let (link, precious) = (shared.path().join("link"), shared.path().join("precious"));
        symlink("precious", &link).unwrap();
        assert_eq!(behind_links(&link).unwrap(), precious);
        // Only root can give what is its own away.
        if geteuid().is_root() {
            lchown(&link, Some(SOMEBODY), None).unwrap();
            assert_eq!(behind_links(&link).unwrap(), link);
        }
    }

    /// A refresh token stands in it.
    #[test]
    fn what_cannot_take_its_place_is_not_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session");
        fs::create_dir(&path).unwrap();
        replace(&path, b"canary").unwrap_err();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    const SOMEBODY: u32 = 65_534;
}
