//! The drive that a board shows in its boot mode.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What such a drive has, and what it says about itself.
const INFORMATION: &str = "INFO_UF2.TXT";
/// What we write.
const FIRMWARE: &str = "lowbit.uf2";

/// Why the firmware is not on the drive.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// No mounted drive is that of such a board.
    #[error("no drive of a `{board_id}` is mounted")]
    None {
        /// `Board-ID` of such a board.
        board_id: String,
    },
    /// There are several.
    #[error("there are several drives of a `{board_id}`: {}", list(drives))]
    Several {
        /// `Board-ID` of such a board.
        board_id: String,
        /// Where they are mounted.
        drives: Vec<PathBuf>,
    },
    /// The drive is that of another board.
    #[error("`{}` is the drive of a `{found}`, not of a `{board_id}`", drive.display())]
    Other {
        /// Where it is mounted.
        drive: PathBuf,
        /// Its `Board-ID`.
        found: String,
        /// `Board-ID` of such a board.
        board_id: String,
    },
    /// The drive cannot be read or written.
    #[error(transparent)]
    Access(#[from] io::Error),
}

fn list(drives: &[PathBuf]) -> String {
    let names: Vec<_> = drives
        .iter()
        .map(|drive| format!("`{}`", drive.display()))
        .collect();
    names.join(", ")
}

/// Writes `blocks` to the drive of a board called `board_id`: `drive`, or the only one there is.
///
/// # Errors
/// If there is none, are several, or it cannot be written.
pub(super) fn copy(blocks: &[u8], board_id: &str, drive: Option<&Path>) -> Result<(), DriveError> {
    let drive = match drive {
        Some(drive) => {
            let found = read_board_id(drive)?;
            if found != board_id {
                return Err(DriveError::Other {
                    drive: drive.to_owned(),
                    found,
                    board_id: board_id.to_owned(),
                });
            }
            drive.to_owned()
        }
        None => only(board_id, volumes())?,
    };
    tracing::info!(drive = %drive.display(), bytes = blocks.len(), "writing");
    write(&drive, blocks)
}

/// The one of `volumes` that is the drive of such a board.
fn only(board_id: &str, volumes: Vec<PathBuf>) -> Result<PathBuf, DriveError> {
    let is_one = |volume: &PathBuf| read_board_id(volume).is_ok_and(|found| found == board_id);
    let drives: Vec<_> = volumes.into_iter().filter(is_one).collect();
    let board_id = board_id.to_owned();
    match drives.as_slice() {
        [drive] => Ok(drive.clone()),
        [] => Err(DriveError::None { board_id }),
        _ => Err(DriveError::Several { board_id, drives }),
    }
}

/// What the drive says that it is.
fn read_board_id(drive: &Path) -> io::Result<String> {
    let text = fs_err::read_to_string(drive.join(INFORMATION))?;
    let value = |line: &str| Some(line.strip_prefix("Board-ID:")?.trim().to_owned());
    Ok(text.lines().find_map(value).unwrap_or_default())
}

fn write(drive: &Path, blocks: &[u8]) -> Result<(), DriveError> {
    let mut file = fs_err::File::create(drive.join(FIRMWARE))?;
    let written = file.write_all(blocks).and_then(|()| file.sync_all());
    // The board starts the firmware at the last block, and its drive is gone before the file is
    // closed.
    if written.is_err() && !drive.join(INFORMATION).exists() {
        return Ok(());
    }
    Ok(written?)
}

/// Where drives are mounted.
#[cfg(target_os = "linux")]
fn volumes() -> Vec<PathBuf> {
    let mounts = fs_err::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounted(&mounts)
}

/// The places in the second column of a table of mounts, in which blanks are written as numbers.
#[cfg(target_os = "linux")]
fn mounted(table: &str) -> Vec<PathBuf> {
    let place = |line: &str| {
        let place = line.split_whitespace().nth(1)?;
        Some(PathBuf::from(place.replace("\\040", " ")))
    };
    table.lines().filter_map(place).collect()
}

/// Where drives are mounted.
#[cfg(target_os = "windows")]
fn volumes() -> Vec<PathBuf> {
    ('A'..='Z')
        .map(|letter| PathBuf::from(format!("{letter}:\\")))
        .collect()
}

/// Where drives are mounted.
#[cfg(not(any(target_os = "linux", target_os = "windows")))]
fn volumes() -> Vec<PathBuf> {
    let volumes = fs_err::read_dir("/Volumes").into_iter().flatten();
    volumes
        .filter_map(|volume| Some(volume.ok()?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOARD_ID: &str = "RP2350";

    fn drive(board_id: &str) -> tempfile::TempDir {
        let drive = tempfile::tempdir().expect("temporary directory");
        let text = format!("UF2 Bootloader v1.0\r\nModel: Some board\r\nBoard-ID: {board_id}\r\n");
        fs_err::write(drive.path().join(INFORMATION), text).expect("is written");
        drive
    }

    #[test]
    fn the_drive_that_is_named_must_be_that_of_the_board() {
        let (right, wrong) = (drive(BOARD_ID), drive("RPI-RP2"));
        copy(b"blocks", BOARD_ID, Some(right.path())).expect("is written");
        let written = fs_err::read(right.path().join(FIRMWARE)).expect("is there");
        assert_eq!(written, b"blocks");
        let error = copy(b"blocks", BOARD_ID, Some(wrong.path())).expect_err("another board");
        assert!(
            error
                .to_string()
                .ends_with("is the drive of a `RPI-RP2`, not of a `RP2350`")
        );
        let no_drive = tempfile::tempdir().expect("temporary directory");
        let error = copy(b"blocks", BOARD_ID, Some(no_drive.path())).expect_err("no drive");
        assert!(error.to_string().contains(INFORMATION), "{error}");
    }

    #[test]
    fn the_only_drive_of_such_a_board_is_taken() {
        let [first, second, other] = [BOARD_ID, BOARD_ID, "RPI-RP2"].map(drive);
        let path = |drive: &tempfile::TempDir| drive.path().to_owned();
        let found = only(BOARD_ID, vec![path(&other), path(&first)]).expect("is one");
        assert_eq!(found, path(&first));
        let none = only(BOARD_ID, vec![path(&other)]).expect_err("is none");
        assert_eq!(none.to_string(), "no drive of a `RP2350` is mounted");
        let several = only(BOARD_ID, vec![path(&first), path(&second)]).expect_err("are two");
        assert!(matches!(several, DriveError::Several { drives, .. } if drives.len() == 2));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn places_of_mounts_may_have_blanks() {
        let table = "/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /media/a\\040b vfat rw 0 0\n";
        assert_eq!(mounted(table), ["/", "/media/a b"].map(PathBuf::from));
    }
}
