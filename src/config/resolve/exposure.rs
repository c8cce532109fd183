//! `[secrets]`: files with secrets that every user of the machine can read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path;

use super::super::decode::{Path, Report};
use super::super::raw;
use super::choice;

/// What to do about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Refuse,
    Warn,
    Allow,
}

pub(super) const POLICIES: [(&str, Policy); 3] = [
    ("refuse", Policy::Refuse),
    ("warn", Policy::Warn),
    ("allow", Policy::Allow),
];

/// Looks at every file with a secret that was noted on the way. Once for each, however many keys lead
/// to it.
pub(super) fn check(raw: &raw::Secrets, report: &mut Report) {
    let key = Path::new(["secrets", "readable_by_others"]);
    let Some(written) = choice(raw.readable_by_others.as_deref(), &POLICIES, &key, report) else {
        return;
    };
    let policy = written.unwrap_or(Policy::Warn);
    let mut seen = Vec::new();
    for (key, file) in report.take_secret_files() {
        let Some(file) = file.or_else(|| report.main_file()) else {
            continue;
        };
        if seen.contains(&file) || !readable_by_others(&file) {
            continue;
        }
        let name = file.display();
        match policy {
            Policy::Refuse => report.add(
                &key,
                format!("{name}, which every user of this machine can read"),
                format!("{ADVICE}; or secrets.readable_by_others = \"warn\""),
            ),
            Policy::Warn => report.warn(format!(
                "{key}: every user of this machine can read {name}; better is {ADVICE}"
            )),
            Policy::Allow => {}
        }
        seen.push(file);
    }
}

fn readable_by_others(file: &path::Path) -> bool {
    are_let(READ, file)
}

/// Whether every user can write to a directory, and take away what others have put there.
pub(super) fn writable_by_others(directory: &path::Path) -> bool {
    let is_sticky = fs::metadata(directory).is_ok_and(|of| of.mode() & STICKY != 0);
    !is_sticky && are_let(WRITE, directory)
}

/// Its own mode lets others do something, and every directory above it lets them come there. What is not
/// there lets nobody.
fn are_let(what: u32, path: &path::Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else {
        return false;
    };
    let lets = |path: &path::Path, what| fs::metadata(path).is_ok_and(|of| of.mode() & what != 0);
    let mut above = path.ancestors().skip(1);
    lets(&path, what) && above.all(|directory| lets(directory, ENTER))
}

const READ: u32 = 0o004;
const WRITE: u32 = 0o002;
const ENTER: u32 = 0o001;
const STICKY: u32 = 0o1000;

const ADVICE: &str = "a file that only its owner and group can read (chmod o-r; in Kubernetes \
                      defaultMode 0440 with an fsGroup)";

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_directories_above_count_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, "canary").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("secret", &link).unwrap();
        for (above, own, exposed) in [
            (0o755, 0o644, true),
            (0o711, 0o604, true),
            (0o755, 0o640, false),
            (0o700, 0o644, false),
        ] {
            let mode = |path: &path::Path, mode| {
                fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            };
            mode(directory.path(), above);
            mode(&file, own);
            for path in [&file, &link] {
                assert_eq!(readable_by_others(path), exposed, "{above:o} {own:o}");
            }
        }
    }
}
