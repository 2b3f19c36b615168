//! The keys that models are signed with: Ed25519, in two files of one line each.
//!
//! ```text
//! NAME.key  lowbit-secret-key-1 and the seed
//! NAME.pub  lowbit-public-key-1 and the public key; both in hexadecimal digits
//! ```

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ed25519_compact::{KeyPair, Noise, Seed};
use lowbit_runtime::format::{self, SIGNATURE_BYTES};
use lowbit_runtime::signature::{PUBLIC_KEY_BYTES, PUBLIC_KEY_TITLE, is_signed_by, parse_key};
use rand::TryRng;
use rand::rngs::SysRng;

const SECRET: &str = "lowbit-secret-key-1";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Access(#[from] io::Error),
    /// A file is no key of that kind.
    #[error("`{}` is no key: `{title}` and 64 hexadecimal digits expected", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What such a file starts with.
        title: &'static str,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] rand::rngs::SysError),
}

/// A key to sign with. Whoever has it can make models that boards trust.
pub struct SecretKey(KeyPair);

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; Seed::BYTES];
        SysRng.try_fill_bytes(&mut seed)?;
        Ok(Self::from_seed(seed))
    }

    fn from_seed(seed: [u8; Seed::BYTES]) -> Self {
        Self(KeyPair::from_seed(Seed::new(seed)))
    }

    /// Reads one from `path`.
    ///
    /// # Errors
    /// If the file cannot be read or is no secret key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Ok(Self::from_seed(read(path, SECRET)?))
    }

    /// Writes it to `path`, which must not exist yet, for nobody else to read.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        write_new(path, SECRET, &*self.0.sk.seed())
    }

    /// Its other half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.pk)
    }

    /// The signature of `content`.
    #[must_use]
    pub fn sign(&self, content: &[u8]) -> [u8; SIGNATURE_BYTES] {
        *self.0.sk.sign(content, None::<Noise>)
    }
}

/// A key to verify signatures with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// Reads one from `path`.
    ///
    /// # Errors
    /// If the file cannot be read or is no public key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Ok(Self(read(path, PUBLIC_KEY_TITLE)?))
    }

    /// Writes it to `path`, which must not exist yet.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        write_new(path, PUBLIC_KEY_TITLE, &self.0)
    }

    /// Whether the packed file `model` has a signature, and it is one of this key.
    ///
    /// # Errors
    /// If it is no packed file.
    pub fn has_signed(&self, model: &[u8]) -> Result<bool, format::Error> {
        let signed = format::signed(model)?;
        Ok(signed.is_some_and(|signed| is_signed_by(&self.0, signed.content, signed.signature)))
    }
}

/// Reads what follows `title`.
fn read(path: &Path, title: &'static str) -> Result<[u8; 32], KeyError> {
    let text = fs_err::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => KeyError::Content {
            path: path.to_owned(),
            title,
        },
        _ => error.into(),
    })?;
    parse_key(&text, title).ok_or_else(|| KeyError::Content {
        path: path.to_owned(),
        title,
    })
}

fn write_new(path: &Path, title: &str, key: &[u8]) -> Result<(), KeyError> {
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use fs_err::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    writeln!(file, "{title} {digits}")?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_files_and_are_not_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (secret_path, public_path) = (folder.path().join("a.key"), folder.path().join("a.pub"));
        let secret = SecretKey::generate().expect("is generated");
        secret.write(&secret_path).expect("is written");
        secret.public().write(&public_path).expect("is written");
        let again = SecretKey::read(&secret_path).expect("is a key");
        assert_eq!(again.sign(b"text"), secret.sign(b"text"));
        assert_eq!(
            PublicKey::read(&public_path).expect("is a key"),
            secret.public()
        );
        let other = SecretKey::generate().expect("is generated");
        assert_ne!(other.public(), secret.public());
        assert!(other.write(&secret_path).is_err() && other.public().write(&public_path).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = fs_err::metadata(&secret_path).expect("is there");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        // Each file says what it is.
        for (path, title) in [(&public_path, SECRET), (&secret_path, PUBLIC_KEY_TITLE)] {
            assert!(matches!(read(path, title), Err(KeyError::Content { .. })));
        }
    }

    /// Test 2 of RFC 8032.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        let secret = SecretKey::from_seed(parse_key(&format!("x {seed}"), "x").expect("is one"));
        let public = parse_key(&format!("x {key}"), "x").expect("is one");
        assert_eq!(secret.public(), PublicKey(public));
        let found: String = secret
            .sign(&[0x72])
            .map(|byte| format!("{byte:02x}"))
            .concat();
        assert_eq!(found, signature);
    }
}
