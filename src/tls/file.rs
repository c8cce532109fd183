//! Files with certificates and keys, read whole.

use std::io::{self, Read};
use std::path::Path;

use crate::ordinary_file;

/// Reads a file that the configuration names.
///
/// # Errors
///
/// It cannot be read, is no ordinary file, or is larger than 8 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, _) = ordinary_file::open(path, LARGEST + 1)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 8 MiB"));
    }
    Ok(bytes)
}

/// All public authorities together have a thirtieth of it.
const LARGEST: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_not_read_to_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LARGEST).unwrap();
        assert_eq!(read(file.path()).unwrap().len() as u64, LARGEST);
        file.as_file().set_len(1 << 40).unwrap();
        let error = read(file.path()).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 8 MiB");
    }
}
