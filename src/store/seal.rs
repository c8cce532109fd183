//! What an entry looks like to whoever keeps it: encrypted and authenticated, or, where that was
//! asked for by name, in the clear.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::backend::StoreError;
use crate::ordinary_file;
use crate::runtime::Disk;

/// How entries are written.
#[derive(Debug, Clone)]
pub enum Seal {
    /// With AES-256-GCM and these keys.
    Keys(KeyFile),
    /// In the clear.
    Clear,
}

/// The keys in a file: a line of base64 for each. The first seals, all of them open, so that a new
/// one can be made known everywhere before it is used.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
    disk: Disk,
    /// What it said, and when: it may be replaced.
    read: Arc<Mutex<Option<(Instant, Keys)>>>,
}

type Keys = Arc<Vec<Key>>;

impl KeyFile {
    /// Names the file; nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            disk: Disk::default(),
            read: Arc::default(),
        }
    }

    /// Writes a file with a new key, which only this user can read. It blocks.
    ///
    /// # Errors
    ///
    /// It is there already, or cannot be written.
    pub fn create(path: &Path) -> io::Result<()> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key)
            .map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let line = Zeroizing::new(BASE64_STANDARD.encode(*key) + "\n");
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(path);
        opened?.write_all(line.as_bytes())
    }

    /// What it says, or said a moment ago.
    async fn keys(&self) -> Result<Keys, StoreError> {
        let known = self.known().clone();
        match known.filter(|(at, _)| at.elapsed() < READ_AGAIN) {
            Some((_, keys)) => Ok(keys),
            None => self.keys_now().await,
        }
    }

    async fn keys_now(&self) -> Result<Keys, StoreError> {
        let path = self.path.clone();
        let read = self.disk.work(move || read_keys(&path)).await;
        let read =
            read.unwrap_or_else(|error| Err(StoreError::Key(format!("was not read: {error}"))))?;
        let keys = Arc::new(read);
        *self.known() = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }

    /// Held for a look. Whoever panics meanwhile leaves it whole.
    fn known(&self) -> MutexGuard<'_, Option<(Instant, Keys)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was found in the place of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// What somebody with the key has written there.
    Whole(Vec<u8>),
    /// Nothing that anybody could use.
    Nothing,
    /// Something broken, or an entry of another name.
    Broken,
}

impl Seal {
    /// Whether there are keys that can be used. It blocks.
    ///
    /// # Errors
    ///
    /// There are none.
    pub fn check_blocking(&self) -> Result<(), StoreError> {
        match self {
            Self::Keys(file) => read_keys(&file.path).map(drop),
            Self::Clear => Ok(()),
        }
    }

    /// Writes an entry. It can only be read again under the same name.
    pub(super) async fn close(&self, name: &str, plain: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let Self::Keys(file) = self else {
            return Ok([CLEAR, &plain].concat());
        };
        let keys = file.keys().await?;
        let key = keys
            .first()
            .ok_or_else(|| StoreError::Key("holds no key".into()))?;
        let mut sealed = plain;
        let nonce = key
            .key
            .seal_in_place_append_tag(bound_to(name), &mut sealed)
            .map_err(|_| StoreError::Key("holds a key that does not encrypt".into()))?;
        Ok([SEALED, &key.id, nonce.as_ref(), &sealed].concat())
    }

    /// Reads an entry.
    ///
    /// # Errors
    ///
    /// It was written with another key, or without one: it may be good for others.
    pub(super) async fn open(&self, name: &str, bytes: &[u8]) -> Result<Opened, StoreError> {
        if bytes.is_empty() {
            return Ok(Opened::Nothing);
        }
        if let Some(plain) = bytes.strip_prefix(CLEAR) {
            return match self {
                Self::Clear => Ok(Opened::Whole(plain.to_vec())),
                Self::Keys(_) => Err(StoreError::Undecipherable {
                    why: "it is not encrypted",
                    advice: "have all replicas use the same settings",
                }),
            };
        }
        let sealed = bytes.strip_prefix(SEALED);
        let Some((id, rest)) = sealed.and_then(<[u8]>::split_first_chunk::<ID>) else {
            return Ok(Opened::Broken);
        };
        let Some((nonce, rest)) = rest.split_first_chunk::<NONCE>() else {
            return Ok(Opened::Broken);
        };
        let unknown = StoreError::Undecipherable {
            why: "it was encrypted with a key that is not in this replica's key_file",
            advice: "make the new key known everywhere before it becomes the first; if the old one is lost, delete the entry",
        };
        let Self::Keys(file) = self else {
            return Err(unknown);
        };
        let known = |keys: &Keys| keys.iter().position(|key| key.id == *id);
        let mut keys = file.keys().await?;
        if known(&keys).is_none() {
            keys = file.keys_now().await?;
        }
        let key = known(&keys).and_then(|position| keys.get(position));
        let key = key.ok_or(unknown)?;
        let mut bytes = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key.key.open_in_place(nonce, bound_to(name), &mut bytes);
        Ok(match opened {
            Ok(plain) => Opened::Whole(plain.to_vec()),
            Err(_) => Opened::Broken,
        })
    }
}

struct Key {
    /// The beginning of a digest: tells keys apart and says nothing about them.
    id: [u8; ID],
    key: RandomizedNonceKey,
}

/// Shows all but the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn read_keys(path: &Path) -> Result<Vec<Key>, StoreError> {
    let fault = |what: String| StoreError::Key(format!("{} {what}", path.display()));
    let text = read_bounded(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Vec<_> = lines.map(key).collect::<Option<_>>().ok_or_else(|| {
        fault(
            "holds something else than keys; each is a line of base64 of 32 random bytes, as \
             `openssl rand -base64 32` prints it"
                .into(),
        )
    })?;
    if keys.is_empty() {
        return Err(fault(
            "holds no key; `openssl rand -base64 32` makes one".into(),
        ));
    }
    Ok(keys)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let (file, metadata) = ordinary_file::open(path, LARGEST_FILE)?;
    if metadata.len() > LARGEST_FILE {
        return Err(io::Error::other("it is no file of a few lines"));
    }
    io::read_to_string(file)
}

fn key(line: &str) -> Option<Key> {
    let bytes = BASE64_STANDARD.decode(line).ok()?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()?;
    let digest = digest(
        &SHA256,
        &[b"gatepass store key id", bytes.as_slice()].concat(),
    );
    let id = digest.as_ref().first_chunk().copied()?;
    Some(Key { id, key })
}

/// An entry that is put under another name does not open.
fn bound_to(name: &str) -> Aad<Vec<u8>> {
    Aad::from([SEALED, name.as_bytes()].concat())
}

/// With which an entry begins: what it is, and the version of what follows.
const SEALED: &[u8] = b"gatepass-1-sealed:";
const CLEAR: &[u8] = b"gatepass-1-clear:";

/// The lengths of a key's name and of a nonce (NIST SP 800-38D §5.2.1.1: 96 bits).
const ID: usize = 4;
const NONCE: usize = 12;

/// How long the file is taken to say what it said, unless an entry needs another key.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Some hundred keys.
const LARGEST_FILE: u64 = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FIRST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const SECOND: &str = "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn keys(lines: &[&str]) -> (tempfile::TempDir, Seal) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        fs::write(&path, lines.join("\n")).unwrap();
        (directory, Seal::Keys(KeyFile::new(path)))
    }

    #[tokio::test]
    async fn what_is_sealed_opens_under_its_name_only() {
        let (_directory, seal) = keys(&[FIRST]);
        let sealed = seal.close("a", b"canary".to_vec()).await.unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        let again = seal.close("a", b"canary".to_vec()).await.unwrap();
        assert_ne!(sealed, again, "each time with another nonce");
        let opened = seal.open("a", &sealed).await.unwrap();
        assert_eq!(opened, Opened::Whole(b"canary".to_vec()));
        assert_eq!(seal.open("b", &sealed).await.unwrap(), Opened::Broken);
        for position in [0, SEALED.len() + ID, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert_eq!(seal.open("a", &changed).await.unwrap(), Opened::Broken);
        }
        for length in 1..sealed.len() {
            assert_eq!(
                seal.open("a", &sealed[..length]).await.unwrap(),
                Opened::Broken
            );
        }
    }

    #[tokio::test]
    async fn a_new_key_is_made_known_before_it_is_used() {
        let (_old, old) = keys(&[FIRST]);
        let (_known, known) = keys(&[FIRST, SECOND]);
        let (_new, new) = keys(&[SECOND, FIRST]);
        let plain = || b"canary".to_vec();
        for (writer, reader) in [(&old, &known), (&known, &old), (&old, &new), (&new, &known)] {
            let sealed = writer.close("a", plain()).await.unwrap();
            let opened = reader.open("a", &sealed).await.unwrap();
            assert_eq!(opened, Opened::Whole(plain()));
        }
        let sealed = new.close("a", plain()).await.unwrap();
        let error = old.open("a", &sealed).await.unwrap_err();
        assert!(error.to_string().contains("key_file"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_first_key_is_used_without_a_restart() {
        let (directory, seal) = keys(&[FIRST]);
        let (_first, first) = keys(&[FIRST]);
        let sealed = seal.close("a", b"canary".to_vec()).await.unwrap();
        first.open("a", &sealed).await.unwrap();
        fs::write(directory.path().join("keys"), [SECOND, FIRST].join("\n")).unwrap();
        tokio::time::advance(READ_AGAIN).await;
        let sealed = seal.close("a", b"canary".to_vec()).await.unwrap();
        first.open("a", &sealed).await.unwrap_err();
    }

    #[test]
    fn a_file_of_something_else_is_not_read_as_a_whole() {
        let lines = vec![FIRST; 1_000];
        let (_directory, seal) = keys(&lines);
        let error = seal.check_blocking().unwrap_err().to_string();
        assert!(error.contains("it is no file of a few lines"), "{error}");
    }

    #[tokio::test]
    async fn what_is_in_the_clear_is_no_entry_of_those_who_encrypt() {
        let (_directory, seal) = keys(&[FIRST]);
        let clear = Seal::Clear.close("a", b"canary".to_vec()).await.unwrap();
        let opened = Seal::Clear.open("a", &clear).await.unwrap();
        assert_eq!(opened, Opened::Whole(b"canary".to_vec()));
        seal.open("a", &clear).await.unwrap_err();
        let sealed = seal.close("a", b"canary".to_vec()).await.unwrap();
        Seal::Clear.open("a", &sealed).await.unwrap_err();
    }

    #[test]
    fn a_key_that_is_made_can_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        KeyFile::create(&path).unwrap();
        Seal::Keys(KeyFile::new(path.clone()))
            .check_blocking()
            .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        KeyFile::create(&path).unwrap_err();
    }

    #[test]
    fn a_file_without_a_usable_key_is_refused_without_quoting_it() {
        for lines in [&[][..], &["canary"], &["Y2FuYXJ5"], &[FIRST, "canary"]] {
            let (_directory, seal) = keys(lines);
            let error = seal.check_blocking().unwrap_err().to_string();
            assert!(error.contains("openssl rand"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        let nowhere = Seal::Keys(KeyFile::new("/nonexistent/keys".into()));
        nowhere.check_blocking().unwrap_err();
    }
}
