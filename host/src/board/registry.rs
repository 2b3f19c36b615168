//! The boards there are, as their `board.toml` files describe them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::install::Installer;
use super::ports::{Port, UsbId};

/// Descriptions that are part of the binary: path and content.
static EMBEDDED: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// The target of firmware for the computer that builds it.
pub(crate) const NATIVE: &str = "native";

/// What a `board.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardSpec {
    /// Name on the command line; the name of its folder.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Processor core.
    pub core: String,
    /// Rust target of the firmware; `native` is whatever computer builds it.
    pub target: String,
    /// Cargo package of the firmware, and name of its ELF file.
    pub package: String,
    /// How the firmware gets onto the board; `None` where nothing needs to be done.
    pub installer: Option<Installer>,
    /// What is where.
    pub memory: Memory,
    /// What a model must fit into.
    pub limits: Limits,
    /// How to emulate it, if QEMU can.
    pub qemu: Option<Qemu>,
    /// How to run its service on this computer, if that can.
    pub process: Option<Process>,
    /// Its serial port, if it exists as more than an emulation.
    pub serial: Option<Serial>,
}

impl BoardSpec {
    /// Reads the `text` of a `board.toml`, which `path` is the place of.
    ///
    /// # Errors
    /// If it does not say what it must, or says something unknown; the error names the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RegistryError> {
        toml::from_str(text).map_err(|error| RegistryError::Parse {
            path: path.to_owned(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })
    }

    /// Whether `port` may be that of such a board. Boards with the same debugger share its USB id.
    #[must_use]
    pub fn may_be_on(&self, port: &Port) -> bool {
        let serial = self.serial.as_ref();
        serial.is_some_and(|serial| port.usb.is_some_and(|usb| serial.usb.contains(&usb)))
    }
}

/// The parts of a board's memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Program code. On a board with an operating system that and the next two are its business.
    pub firmware: Option<Region>,
    /// Model slots.
    pub models: Region,
    /// Stack.
    pub stack: Option<Region>,
    /// All other data.
    pub data: Option<Region>,
    /// What a model computes in.
    pub arena: Region,
}

/// A part of the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// First address.
    pub origin: u32,
    /// Number of bytes.
    pub bytes: u32,
}

/// What a model must fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Number of slots that [`Memory::models`] is divided into.
    pub slots: u8,
}

/// How to emulate a board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qemu {
    /// Program.
    pub program: String,
    /// Its arguments but those for firmware, serial port and semihosting.
    pub arguments: Vec<String>,
}

/// How to run a board's service as a process of this computer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The serial port of a board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// Bits per second.
    pub baud: u32,
    /// What is at the other end of the USB cable: the board or its debugger.
    pub usb: Vec<UsbId>,
}

/// Why boards are not known.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file or directory cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// A description does not say what it must, or says something unknown.
    #[error("`{path}`, line {line}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// Two descriptions have the same name.
    #[error("two boards are called `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// There is no board of that name.
    #[error("there is no board `{name}`; the boards are {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// All names.
        known: Vec<String>,
    },
}

/// All boards, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    boards: Vec<BoardSpec>,
}

impl Registry {
    /// The boards that this program was built with.
    ///
    /// # Errors
    /// If a description is wrong.
    pub fn embedded() -> Result<Self, RegistryError> {
        let files = EMBEDDED.iter();
        Self::parse(files.map(|&(path, text)| (PathBuf::from(path), text.to_owned())))
    }

    /// The boards whose folders are in `directory`.
    ///
    /// # Errors
    /// If a file cannot be read or a description is wrong.
    pub fn read(directory: &Path) -> Result<Self, RegistryError> {
        let mut files = Vec::new();
        for entry in fs_err::read_dir(directory)? {
            let path = entry?.path().join("board.toml");
            if path.is_file() {
                let text = fs_err::read_to_string(&path)?;
                files.push((path, text));
            }
        }
        Self::parse(files)
    }

    fn parse(files: impl IntoIterator<Item = (PathBuf, String)>) -> Result<Self, RegistryError> {
        let mut boards = Vec::new();
        for (path, text) in files {
            boards.push(BoardSpec::parse(&path, &text)?);
        }
        boards.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some([first, _]) = boards
            .array_windows()
            .find(|[first, second]| first.name == second.name)
        {
            let name = first.name.clone();
            return Err(RegistryError::Duplicate { name });
        }
        Ok(Self { boards })
    }

    /// All boards.
    #[must_use]
    pub fn boards(&self) -> &[BoardSpec] {
        &self.boards
    }

    /// The board called `name`.
    ///
    /// # Errors
    /// If there is none; the error lists those that there are.
    pub fn find(&self, name: &str) -> Result<&BoardSpec, RegistryError> {
        let found = self.boards.iter().find(|board| board.name == name);
        found.ok_or_else(|| RegistryError::Unknown {
            name: name.to_owned(),
            known: self.boards.iter().map(|board| board.name.clone()).collect(),
        })
    }
}

/// Line of a byte, from 1.
fn line_of(text: &str, position: usize) -> usize {
    let before = text.as_bytes().get(..position).unwrap_or_default();
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> &'static str {
        EMBEDDED
            .iter()
            .find(|(path, _)| path.contains("mps2-an386"))
            .map(|(_, text)| *text)
            .expect("is embedded")
    }

    #[test]
    fn every_embedded_board_is_described_and_lies_in_the_folder_of_its_name() {
        let registry = Registry::embedded().expect("all parse");
        assert_eq!(registry.boards().len(), EMBEDDED.len());
        for board in registry.boards() {
            let folder = format!("/{}/board.toml", board.name);
            assert!(
                EMBEDDED.iter().any(|(path, _)| path.ends_with(&folder)),
                "{folder}"
            );
        }
        assert!(registry.find("mps2-an386").is_ok());
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let changed = text().replacen("core =", "cores =", 1);
        let line = changed
            .lines()
            .position(|line| line.starts_with("cores"))
            .expect("there")
            + 1;
        let error = BoardSpec::parse(Path::new("some/board.toml"), &changed).expect_err("unknown");
        let shown = error.to_string();
        assert!(
            shown.starts_with(&format!("`some/board.toml`, line {line}: ")),
            "{shown}"
        );
        assert!(shown.contains("unknown field `cores`"), "{shown}");
    }

    #[test]
    fn two_boards_of_one_name_are_an_error() {
        let file = || (PathBuf::from("a"), text().to_owned());
        let error = Registry::parse([file(), file()]).expect_err("same name");
        assert_eq!(error.to_string(), "two boards are called `mps2-an386`");
    }

    #[test]
    fn an_unknown_board_is_answered_with_the_known_ones() {
        let error = Registry::embedded()
            .expect("parses")
            .find("mps3")
            .expect_err("unknown");
        let shown = error.to_string();
        assert!(
            shown.contains("no board `mps3`") && shown.contains("mps2-an386"),
            "{shown}"
        );
    }

    #[test]
    fn the_linker_script_agrees_with_the_description() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards");
        for board in Registry::read(&boards).expect("parses").boards() {
            let path = boards.join(&board.name).join("memory.x");
            let Ok(script) = fs_err::read_to_string(&path) else {
                continue;
            };
            let memory = &board.memory;
            let regions = [
                ("FLASH", memory.firmware),
                ("MODELS", Some(memory.models)),
                ("STACK", memory.stack),
                ("RAM", memory.data),
                ("ARENA", Some(memory.arena)),
            ];
            for (name, region) in regions {
                let Region { origin, bytes } = region.expect("a chip has all of them");
                let expected = format!("ORIGIN = {origin:#010x}, LENGTH = {bytes:#010x}");
                let line = script
                    .lines()
                    .find(|line| line.trim_start().starts_with(name));
                assert!(
                    line.is_some_and(|line| line.contains(&expected)),
                    "{}: {name}: {line:?}, expected {expected}",
                    path.display()
                );
            }
        }
    }
}
