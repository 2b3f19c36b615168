//! Data sets from the content of files that have been read already; paths only name them.

use std::path::Path;

use super::{Dataset, Error, cifar, npy};

/// CIFAR-10, the binary format or a batch of the Python archive.
///
/// # Errors
/// If it is neither.
pub fn cifar10(path: &Path, bytes: &[u8]) -> Result<Dataset, Error> {
    cifar::decode(path, bytes, &cifar::CIFAR10)
}

/// CIFAR-100, the binary format or a batch of the Python archive.
///
/// # Errors
/// If it is neither.
pub fn cifar100(path: &Path, bytes: &[u8]) -> Result<Dataset, Error> {
    cifar::decode(path, bytes, &cifar::CIFAR100)
}

/// Two arrays of numpy.
///
/// # Errors
/// If they are no arrays of images and labels.
pub fn npy(path: &Path, images: &[u8], labels: &[u8]) -> Result<Dataset, Error> {
    npy::pair(images, labels).map_err(|what| npy::error(path, what))
}

/// An archive of numpy.
///
/// # Errors
/// If it has no arrays of images and labels.
pub fn npz(path: &Path, bytes: &[u8]) -> Result<Dataset, Error> {
    npy::archive(bytes).map_err(|what| npy::error(path, what))
}
