//! What the user is told when a command does not succeed, and the exit code.

use std::error::Error;
use std::fmt::{self, Display};
use std::process::ExitCode;

/// How a command that ran to its end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done (exit code 0).
    Done,
    /// It ran, and the answer is no (exit code 1): a difference, an accuracy below the bound, a
    /// model that does not fit.
    No,
    /// Ctrl-C (exit code 130).
    Interrupted,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::No => Self::from(1),
            Outcome::Interrupted => Self::from(130),
        }
    }
}

/// Why a command could not run: one message, and what to do about it if that is known.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    outcome: Option<Outcome>,
}

impl Failure {
    pub(crate) fn new(message: impl Display) -> Self {
        Self {
            message: message.to_string(),
            hint: None,
            outcome: None,
        }
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// An error that is an answer: it exits with the outcome's code instead of 2.
    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// What went wrong, without what to do.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn is_interruption(&self) -> bool {
        self.outcome == Some(Outcome::Interrupted)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        self.outcome.map_or(ExitCode::from(2), ExitCode::from)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// How CUDA's libraries say that they got no memory.
const OUT_OF_MEMORY: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

/// Every library error becomes its message and those of its causes. `Failure` itself is no
/// `std::error::Error`, hence no conflict.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Transparent errors and messages that quote their cause would say it twice.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = inner.source();
        }
        let out_of_memory = OUT_OF_MEMORY.iter().any(|text| message.contains(text));
        let failure = Self::new(message);
        if out_of_memory {
            failure.hint(
                "the GPU's memory is full: lower --batch, or end what else runs there \
                 (`nvidia-smi` lists it)",
            )
        } else {
            failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read `x`")]
    struct Outer(#[source] std::fmt::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("node `conv1`: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")")]
    struct NoRoom;

    #[test]
    fn a_gpu_without_room_says_what_to_do() {
        let text = Failure::from(NoRoom).to_string();
        assert!(text.contains("hint:") && text.contains("--batch"), "{text}");
    }

    #[test]
    fn causes_follow_the_message_and_the_hint_comes_last() {
        let failure = Failure::from(Outer(std::fmt::Error)).hint("give another file");
        let text = failure.to_string();
        assert!(text.starts_with("error: cannot read `x`: "), "{text}");
        assert!(text.ends_with("\n\nhint: give another file"), "{text}");
    }
}
