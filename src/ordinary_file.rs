//! Files that somebody names and that are read whole, whatever they turn out to be.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Take};
use std::path::Path;

/// Opens a file to be read to its end, but no further than `most` bytes, with what is known of it.
///
/// # Errors
///
/// It cannot be opened, or is no ordinary file.
pub fn open(path: &Path, most: u64) -> io::Result<(Take<File>, Metadata)> {
    // Asked before it is opened: whoever opens a pipe waits for somebody to write, and a device may never end.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    Ok((File::open(path)?.take(most), metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ordinary_file_is_not_even_opened() {
        for path in ["/dev/zero", "/"] {
            let error = open(Path::new(path), 1).unwrap_err();
            assert_eq!(error.to_string(), "it is no ordinary file");
        }
    }
}
