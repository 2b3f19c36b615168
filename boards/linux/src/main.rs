//! The service of a board as a program of a Linux computer: models in a file, the host on TCP or on
//! standard input and output.

mod flash;
mod link;

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use embedded_io::{Read, Write};
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::{FRAME_BYTES, TickUnit};
use lowbit_runtime::service::{self, Board, Buffers, Description, Platform};

use crate::flash::FileFlash;
use crate::link::StandardStreams;

/// As in board.toml.
const SLOTS: u8 = 2;
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
    fs_err::create_dir_all(&arguments.state)?;
    let mut flash = FileFlash::open(&arguments.state.join("linux.flash"), MODEL_BYTES)?;
    let mut arena = vec![0u64; ARENA_BYTES / size_of::<u64>()];
    let arena = bytemuck::cast_slice_mut(&mut arena);
    let Some(address) = &arguments.listen else {
        return Ok(serve(StandardStreams::new(), &mut flash, arena)?);
    };
    let listener = TcpListener::bind(address).map_err(|error| format!("`{address}`: {error}"))?;
    eprintln!("lowbit-linux: listening on {}", listener.local_addr()?);
    loop {
        let (stream, host) = listener.accept()?;
        let served = link::over_tcp(stream).and_then(|link| serve(link, &mut flash, arena));
        if let Err(error) = served {
            eprintln!("lowbit-linux: {host}: {error}");
        }
    }
}

/// Answers one host until it goes.
fn serve<L>(link: L, flash: &mut FileFlash, arena: &mut [u8]) -> io::Result<()>
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
        },
        link,
        flash,
        platform: Clock(Instant::now()),
        arena,
        results: &mut [0; 4 * MAX_OPERATIONS as usize],
        buffers: &mut Buffers::<FRAME_BYTES>::new(),
    })
}

struct Clock(Instant);

impl Platform for Clock {
    fn ticks(&mut self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// Not known here.
    fn stack_used(&self) -> u32 {
        0
    }
}
