//! Whether files have changed since they were last looked at.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::runtime::Disk;

/// Files whose change is awaited.
///
/// They are looked at by name, once a second: Kubernetes changes a mounted secret by swapping a
/// symbolic link two folders above it, and editors by renaming another file over it. What
/// notifies of changes knows of the link, or of the old file, and of neither on a network's file
/// system.
#[derive(Debug)]
pub struct WatchedFiles {
    paths: Arc<[PathBuf]>,
    disk: Disk,
    seen: RefCell<Vec<Stamp>>,
}

/// Files as they were when somebody looked at them.
pub type Files = BTreeMap<PathBuf, Stamp>;

/// What tells two states of a file apart; nothing while there is no such file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(Option<State>);

/// Device, inode and size; when it was written to, and when anything of it was changed.
type State = (u64, u64, u64, (i64, i64), (i64, i64));

impl Stamp {
    /// Of a file as it is now. To be taken before it is read: a change in between is then found once
    /// more, not missed. It blocks.
    pub fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(metadata.map(|of| {
            // Whoever reads a pipe changes it.
            if !of.is_file() {
                return (of.dev(), of.ino(), 0, (0, 0), (0, 0));
            }
            let written = (of.mtime(), of.mtime_nsec());
            let changed = (of.ctime(), of.ctime_nsec());
            (of.dev(), of.ino(), of.size(), written, changed)
        }))
    }
}

impl WatchedFiles {
    /// Names the files; nothing is looked at yet.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths: paths.into(),
            disk: Disk::default(),
            seen: RefCell::default(),
        }
    }

    /// Files that were looked at before they were read.
    pub fn seen(files: Files) -> Self {
        let (paths, seen): (Vec<_>, _) = files.into_iter().unzip();
        Self {
            seen: RefCell::new(seen),
            ..Self::new(paths)
        }
    }

    /// Remembers how the files are now. To be done before they are read: a change in between is
    /// then found once more, not missed.
    pub async fn look(&self) {
        let now = self.stamps().await;
        self.seen.replace(now);
    }

    /// Resolves when a file is no longer as it was seen last.
    pub async fn change(&self) {
        if self.paths.is_empty() {
            return pending().await;
        }
        loop {
            sleep(PERIOD).await;
            let now = self.stamps().await;
            if *self.seen.borrow() != now {
                return;
            }
        }
    }

    /// Resolves when the files have been left alone for a moment. Editors write more than once, and
    /// whoever replaces several files does it one after the other.
    pub async fn calm(&self) {
        for _ in 0..MOST_UNREST {
            self.look().await;
            sleep(UNREST).await;
            let now = self.stamps().await;
            if *self.seen.borrow() == now {
                return;
            }
        }
    }

    async fn stamps(&self) -> Vec<Stamp> {
        if self.paths.is_empty() {
            return Vec::new();
        }
        let paths = Arc::clone(&self.paths);
        let look = move || paths.iter().map(|path| Stamp::of(path)).collect();
        let stamps = self.disk.work(look).await;
        // Nobody could look, so nothing is known to have changed.
        stamps.unwrap_or_else(|_| self.seen.borrow().clone())
    }
}

const PERIOD: Duration = Duration::from_secs(1);

const UNREST: Duration = Duration::from_millis(200);

/// Files that never come to rest are read nevertheless.
const MOST_UNREST: usize = 25;
