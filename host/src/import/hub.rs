//! Files of the Hugging Face hub, named `hf://OWNER/REPOSITORY/FILE` or
//! `hf://OWNER/REPOSITORY@REVISION/FILE`.

use std::path::{Path, PathBuf};

const SCHEME: &str = "hf://";

/// Why a file of the hub cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name of another form.
    #[error("`{0}`: hf://OWNER/REPOSITORY/FILE or hf://OWNER/REPOSITORY@REVISION/FILE expected")]
    Name(String),
    /// No connection, no such file, or no access to it.
    #[error(
        "`{name}` is not in the cache and cannot be downloaded: {reason}; without a network, \
         download the file elsewhere and give its path"
    )]
    Download {
        /// What was asked for.
        name: String,
        /// What the hub or the network says.
        reason: String,
    },
    /// Other bytes than those that the hub names by their digest.
    #[error(
        "`{path}`: its SHA-256 is {found}, the hub says {expected}; delete the file, so that it is \
         downloaded again"
    )]
    Digest {
        /// The file in the cache.
        path: PathBuf,
        /// The hub's digest.
        expected: String,
        /// That of the file.
        found: String,
    },
    /// The file in the cache cannot be read; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A program without this feature.
    #[error(
        "`{0}`: this program was built without the feature `hub`; build it with `--features hub`, or \
         download the file and give its path"
    )]
    NotBuilt(String),
}

/// The parts of a name.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    repository: String,
    revision: Option<String>,
    file: String,
}

impl Reference {
    fn parse(name: &str) -> Option<Self> {
        let (owner, rest) = name.strip_prefix(SCHEME)?.split_once('/')?;
        let (repository, file) = rest.split_once('/')?;
        let (repository, revision) = match repository.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (repository, None),
        };
        let parts = [owner, repository, revision.unwrap_or("main"), file];
        let is_plain = |part: &&str| !part.is_empty() && !part.split('/').any(|part| part == "..");
        parts.iter().all(is_plain).then(|| Self {
            repository: format!("{owner}/{repository}"),
            revision: revision.map(str::to_owned),
            file: file.to_owned(),
        })
    }
}

/// The file that `path` names: itself, or for a name of the hub its copy in the cache, after
/// downloading it if need be and comparing its digest.
///
/// # Errors
/// See [`Error`].
pub fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let Some(name) = path.to_str().filter(|name| name.starts_with(SCHEME)) else {
        return Ok(path.to_owned());
    };
    let reference = Reference::parse(name).ok_or_else(|| Error::Name(name.to_owned()))?;
    fetch(name, reference)
}

#[cfg(not(feature = "hub"))]
fn fetch(name: &str, _reference: Reference) -> Result<PathBuf, Error> {
    Err(Error::NotBuilt(name.to_owned()))
}

#[cfg(feature = "hub")]
fn fetch(name: &str, reference: Reference) -> Result<PathBuf, Error> {
    use hf_hub::api::sync::ApiBuilder;
    use hf_hub::{Repo, RepoType};

    let failed = |error: hf_hub::api::sync::ApiError| Error::Download {
        name: name.to_owned(),
        reason: error.to_string(),
    };
    let revision = reference.revision.unwrap_or_else(|| "main".to_owned());
    let repository = Repo::with_revision(reference.repository, RepoType::Model, revision);
    let api = ApiBuilder::from_env()
        .with_progress(false)
        .build()
        .map_err(failed)?;
    let path = api.repo(repository).get(&reference.file).map_err(failed)?;
    check_digest(&path)?;
    Ok(path)
}

/// The cache calls large files by their SHA-256.
#[cfg(any(feature = "hub", test))]
fn check_digest(path: &Path) -> Result<(), Error> {
    use sha2::{Digest, Sha256};

    let blob = fs_err::canonicalize(path)?;
    let name = blob
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    if name.len() != 64 || !name.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(());
    }
    let digest = Sha256::digest(fs_err::read(&blob)?);
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if found == name.to_ascii_lowercase() {
        return Ok(());
    }
    Err(Error::Digest {
        expected: name.to_owned(),
        path: blob,
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let reference = Reference::parse("hf://a/b@v1/sub/net.pth").unwrap();
        assert_eq!(reference.repository, "a/b");
        assert_eq!(reference.revision.as_deref(), Some("v1"));
        assert_eq!(reference.file, "sub/net.pth");
        assert_eq!(Reference::parse("hf://a/b/x.onnx").unwrap().revision, None);
        for wrong in [
            "hf://a",
            "hf://a/b",
            "hf://a/b/",
            "hf:///b/c",
            "hf://a/b/../c",
            "hf://a/b@/c",
        ] {
            let error = resolve(Path::new(wrong)).unwrap_err();
            assert!(matches!(error, Error::Name(_)), "{error}");
        }
        let plain = Path::new("net.pth");
        assert_eq!(resolve(plain).unwrap(), plain);
    }

    #[test]
    fn other_bytes_than_the_digest_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let path = folder.path().join(digest);
        fs_err::write(&path, "hello").unwrap();
        check_digest(&path).unwrap();
        fs_err::write(&path, "hullo").unwrap();
        let error = check_digest(&path).unwrap_err().to_string();
        assert!(
            error.contains(digest) && error.contains("delete the file"),
            "{error}"
        );
        let other = folder.path().join("net.pth");
        fs_err::write(&other, "hullo").unwrap();
        check_digest(&other).unwrap();
    }
}
