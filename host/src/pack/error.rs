//! Why a program cannot be packed.

use lowbit_runtime::format::{self, MAX_OPERATIONS};

use crate::integer;

/// Why a program cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More operations than a reader accepts.
    #[error("the program has {found} operations, the format allows {MAX_OPERATIONS}")]
    Operations {
        /// Operations of the program.
        found: usize,
    },
    /// More golden inputs than the format can count.
    #[error("{found} golden inputs were given, the format allows {}", u16::MAX)]
    GoldenInputs {
        /// Inputs given.
        found: usize,
    },
    /// More bytes than the format can count.
    #[error("the file would take {bytes} bytes, the format allows {}", u32::MAX)]
    TooLarge {
        /// Bytes of the file.
        bytes: usize,
    },
    /// A header or operation cannot be encoded.
    #[error("cannot encode the program: {0}")]
    Encode(#[from] postcard::Error),
    /// The program breaks a rule of the format.
    #[error("the program cannot run: {0}")]
    Format(#[from] format::Error),
    /// A golden input does not fit the network.
    #[error("golden input: {0}")]
    Input(integer::Error),
}

impl From<integer::Error> for Error {
    fn from(error: integer::Error) -> Self {
        match error {
            integer::Error::Format(error) => Self::Format(error),
            error => Self::Input(error),
        }
    }
}
