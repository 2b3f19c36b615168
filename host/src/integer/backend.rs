//! What computes a packed network on this computer. Results do not depend on it.

use std::fmt;
use std::str::FromStr;

use lowbit_runtime::batch::{BatchNetwork, IMAGES, Workspace};

use super::{Arena, Error, IntegerNetwork};

/// What computes a packed network on this computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Many images at once with the processor's vector instructions.
    #[default]
    Cpu,
    /// The portable kernels, image after image: what a board without tuned kernels runs.
    Portable,
}

impl Backend {
    /// Every backend.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Portable];

    /// What a user calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Portable => "portable",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no backend of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no backend `{0}`; there are cpu and portable")]
pub struct UnknownBackend(String);

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        let found = Self::ALL.into_iter().find(|backend| backend.name() == text);
        found.ok_or_else(|| UnknownBackend(text.to_owned()))
    }
}

/// A network that is ready for many images.
pub(super) enum Prepared<'n, 'a> {
    Batches(Box<BatchNetwork<'a>>),
    Engine(&'n IntegerNetwork<'a>),
}

/// Memory of one thread.
pub(super) enum Memory {
    Batches(Workspace),
    Engine(Arena),
}

impl<'n, 'a> Prepared<'n, 'a> {
    pub(super) fn new(network: &'n IntegerNetwork<'a>, backend: Backend) -> Self {
        if backend == Backend::Portable {
            return Self::Engine(network);
        }
        match BatchNetwork::new(*network.model()) {
            Ok(batches) => {
                tracing::debug!(
                    "batches with {} instructions",
                    batches.instructions().name()
                );
                Self::Batches(Box::new(batches))
            }
            Err(error) => {
                tracing::info!("image after image, as batches cannot be used: {error}");
                Self::Engine(network)
            }
        }
    }

    /// Images that [`run`](Self::run) computes together.
    pub(super) fn images(&self) -> usize {
        match self {
            Self::Batches(_) => IMAGES,
            Self::Engine(_) => 1,
        }
    }

    pub(super) fn memory(&self) -> Memory {
        match self {
            Self::Batches(_) => Memory::Batches(Workspace::default()),
            Self::Engine(network) => Memory::Engine(network.arena()),
        }
    }

    /// Runs up to [`images`](Self::images) images; `logits` has a row for each.
    pub(super) fn run(
        &self,
        images: &[&[u8]],
        memory: &mut Memory,
        logits: &mut [i32],
    ) -> Result<(), Error> {
        match (self, memory) {
            (Self::Batches(network), Memory::Batches(workspace)) => {
                network.run(images, workspace, logits);
                Ok(())
            }
            (Self::Engine(network), Memory::Engine(arena)) => {
                let classes = logits.len() / images.len().max(1);
                let rows = logits.chunks_exact_mut(classes.max(1));
                images
                    .iter()
                    .zip(rows)
                    .try_for_each(|(image, row)| network.run(image, arena, &mut (), row))
            }
            (Self::Batches(_), Memory::Engine(_)) | (Self::Engine(_), Memory::Batches(_)) => {
                unreachable!("memory comes from the same network")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for backend in Backend::ALL {
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        let error = "gpu".parse::<Backend>().unwrap_err().to_string();
        for backend in Backend::ALL {
            assert!(error.contains(backend.name()), "{error}");
        }
    }
}
