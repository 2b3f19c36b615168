//! The service of a board as a program of a Linux computer: models in a file, the host on TCP or on
//! standard input and output.

mod authority;
mod flash;
mod link;
mod sensor;

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use embedded_io::{Read, Write};
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::{FRAME_BYTES, Refusal, TickUnit};
use lowbit_runtime::service::{self, Board, Buffers, Description, Platform, Sensor};
use lowbit_runtime::signature::Authority;

use crate::authority::KeyError;
use crate::flash::FileFlash;
use crate::link::StandardStreams;
use crate::sensor::FolderSensor;

/// As in board.toml.
const SLOTS: u8 = 2;
/// A pipe and a connection keep what has not been read: a few images, and less than either holds.
const AHEAD_BYTES: u32 = 32 << 10;
const MODEL_BYTES: u64 = 128 << 20;
const ARENA_BYTES: usize = 64 << 20;

/// A lowbit board on this computer
#[derive(Debug, Parser)]
#[command(name = "lowbit-linux", version)]
struct Arguments {
    /// Answer on this address, one host at a time [default: on standard input and output]
    ///
    /// Whoever can connect can replace the model: use an address that only you can reach.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Directory that keeps the models, in `linux.flash`
    #[arg(long, value_name = "DIR", default_value = ".")]
    state: PathBuf,
    /// Folder with the PNG and JPEG images that the board's sensor sees, for `lowbit calibrate
    /// --from-sensor` [default: `sensor` in the directory of the models, if there is one]
    #[arg(long, value_name = "DIR")]
    sensor: Option<PathBuf>,
    /// Take models only that are signed with this public key, a file of `lowbit keys new`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Refuse models of a lower version than the one before
    #[arg(long, requires = "key")]
    refuse_downgrades: bool,
}

impl Arguments {
    fn open_sensor(&self) -> io::Result<Option<FolderSensor>> {
        let default = self.state.join("sensor");
        let folder = match &self.sensor {
            Some(folder) => folder,
            None if default.is_dir() => &default,
            None => return Ok(None),
        };
        FolderSensor::open(folder).map(Some)
    }

    fn authority(&self) -> Result<Option<Authority>, KeyError> {
        let key = self.key.as_deref().map(authority::read_key).transpose()?;
        Ok(key.map(|key| Authority {
            key,
            refuses_downgrades: self.refuse_downgrades,
        }))
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lowbit-linux: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // First, so that nothing is made where it fails.
    let authority = arguments.authority()?;
    fs_err::create_dir_all(&arguments.state)?;
    let mut flash = FileFlash::open(&arguments.state.join("linux.flash"), MODEL_BYTES)?;
    let mut arena = vec![0u64; ARENA_BYTES / size_of::<u64>()];
    let arena = bytemuck::cast_slice_mut(&mut arena);
    let mut equipment = Equipment {
        start: Instant::now(),
        sensor: arguments.open_sensor()?,
        authority,
    };
    let Some(address) = &arguments.listen else {
        let link = StandardStreams::new();
        return Ok(serve(link, &mut flash, &mut equipment, arena)?);
    };
    let listener = TcpListener::bind(address).map_err(|error| format!("`{address}`: {error}"))?;
    eprintln!("lowbit-linux: listening on {}", listener.local_addr()?);
    loop {
        let (stream, host) = listener.accept()?;
        let served =
            link::over_tcp(stream).and_then(|link| serve(link, &mut flash, &mut equipment, arena));
        if let Err(error) = served {
            eprintln!("lowbit-linux: {host}: {error}");
        }
    }
}

/// Answers one host until it goes.
fn serve<L>(
    link: L,
    flash: &mut FileFlash,
    equipment: &mut Equipment,
    arena: &mut [u8],
) -> io::Result<()>
where
    L: Read<Error = io::Error> + Write,
{
    service::run(Board {
        description: Description {
            name: "linux",
            core: std::env::consts::ARCH,
            tick: TickUnit::Nanoseconds,
            stack_bytes: 0,
            slots: SLOTS,
            ahead_bytes: AHEAD_BYTES,
        },
        link,
        flash,
        platform: equipment,
        arena,
        results: &mut [0; 4 * MAX_OPERATIONS as usize],
        buffers: &mut Buffers::<FRAME_BYTES>::new(),
    })
}

/// What the board has beside its memories.
struct Equipment {
    start: Instant,
    sensor: Option<FolderSensor>,
    /// Whom it trusts; `None` is everybody.
    authority: Option<Authority>,
}

impl Platform for &mut Equipment {
    fn ticks(&mut self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn ticks_per_second(&self) -> u64 {
        1_000_000_000
    }

    /// Not known here.
    fn stack_used(&self) -> u32 {
        0
    }

    fn sensor(&mut self) -> Option<&mut dyn Sensor> {
        self.sensor.as_mut().map(|sensor| sensor as &mut dyn Sensor)
    }

    fn admit(&self, file: &[u8], running: Option<u32>) -> Result<(), Refusal<'static>> {
        match &self.authority {
            Some(authority) => authority.admit(file, running),
            None => Ok(()),
        }
    }
}
