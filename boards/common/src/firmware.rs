//! The command loop of an emulated board.

use core::convert::Infallible;
use core::ffi::CStr;

use embedded_io::{Read, Write};
use lowbit_runtime::protocol::TickUnit;
use lowbit_runtime::service::{self, Board, Buffers, Description, Platform};
pub use static_cell::ConstStaticCell;

use crate::arch::{self, Instructions};
use crate::emulated_flash::EmulatedFlash;
use crate::linker::Memory;
use crate::stack;

/// What a board is called.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Name, as in its `board.toml`.
    pub name: &'static str,
    /// Processor core.
    pub core: &'static str,
    /// Number of model slots.
    pub slots: u8,
    /// File that keeps the flash, in the emulator's working directory.
    pub flash: &'static CStr,
}

/// Memory for frames of at most `FRAME` bytes and for results of `RESULTS` bytes.
#[derive(Debug)]
pub struct Workspace<const FRAME: usize, const RESULTS: usize> {
    buffers: Buffers<FRAME>,
    results: [u8; RESULTS],
}

impl<const FRAME: usize, const RESULTS: usize> Workspace<FRAME, RESULTS> {
    /// Empty memory, to be put into a static.
    #[must_use]
    pub const fn new() -> ConstStaticCell<Self> {
        ConstStaticCell::new(Self {
            buffers: Buffers::new(),
            results: [0; RESULTS],
        })
    }
}

struct Emulated(Instructions);

impl Platform for Emulated {
    fn ticks(&mut self) -> u64 {
        self.0.count()
    }

    fn begin_measurement(&mut self) {
        self.0.begin();
    }

    fn stack_used(&self) -> u32 {
        stack::used()
    }
}

/// Answers requests for ever.
///
/// # Panics
/// When called twice, or the file of the flash cannot be read.
pub fn serve<L, const FRAME: usize, const RESULTS: usize>(
    identity: Identity,
    link: L,
    instructions: Instructions,
    workspace: &'static mut Workspace<FRAME, RESULTS>,
) -> !
where
    L: Read<Error = Infallible> + Write,
{
    arch::prepare();
    let Memory { models, arena } = Memory::take().expect("is called once");
    let flash = EmulatedFlash::open(models, identity.flash).expect("readable flash file");
    let board = Board {
        description: Description {
            name: identity.name,
            core: identity.core,
            tick: TickUnit::Instructions,
            stack_bytes: stack::reserved(),
            slots: identity.slots,
        },
        link,
        flash,
        platform: Emulated(instructions),
        arena,
        results: &mut workspace.results,
        buffers: &mut workspace.buffers,
    };
    let Ok(()) = service::run(board);
    unreachable!("the serial port never closes")
}
