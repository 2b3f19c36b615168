//! What this computer needs to work with boards, and whether it has it.

mod programs;
mod rights;

use std::path::Path;

use serde::Serialize;

use crate::board::BoardSpec;

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found, or what is missing.
    pub found: String,
    /// What it is for.
    pub purpose: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// Missing, and only some users miss it.
    Optional,
    /// Has to be mended.
    Bad,
}

impl Check {
    fn good(name: &str, purpose: &str, found: String) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Good,
            found,
            purpose: purpose.to_owned(),
            remedy: None,
        }
    }

    fn lacking(state: State, name: &str, purpose: &str, found: String, remedy: String) -> Self {
        Self {
            state,
            remedy: Some(remedy),
            ..Self::good(name, purpose, found)
        }
    }
}

/// Looks at everything that `boards` need: compilers, emulators, installers, rights. `state` is
/// where emulated boards keep their flash.
#[must_use]
pub fn examine(boards: &[BoardSpec], state: Option<&Path>) -> Vec<Check> {
    let mut checks = vec![programs::rust()];
    checks.extend(programs::targets(boards));
    checks.extend(programs::emulators(boards));
    checks.extend(programs::installers(boards));
    checks.push(rights::state_directory(state));
    checks.extend(rights::serial_ports());
    checks.extend(rights::debuggers(boards));
    checks
}

/// Names of the boards that `wants` is true of, for people.
fn names(boards: &[BoardSpec], wants: impl Fn(&BoardSpec) -> bool) -> String {
    let names = boards.iter().filter(|board| wants(board));
    let names: Vec<_> = names.map(|board| board.name.as_str()).collect();
    names.join(", ")
}
