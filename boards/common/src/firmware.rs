//! The command loop of a board.

use core::convert::Infallible;

use embedded_io::{Read, Write};
#[cfg(feature = "signed")]
use lowbit_runtime::protocol::Refusal;
use lowbit_runtime::protocol::TickUnit;
use lowbit_runtime::service::{self, Board, Buffers, Description, ModelFlash, Platform, Sensor};
#[cfg(feature = "signed")]
use lowbit_runtime::signature::Authority;
pub use static_cell::ConstStaticCell;

use crate::arch;
use crate::stack;
use crate::stop::stop;

/// What a board is called.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Name, as in its `board.toml`.
    pub name: &'static str,
    /// Processor core.
    pub core: &'static str,
    /// Number of model slots.
    pub slots: u8,
    /// Bytes that the link keeps while the board is busy; 0 if it loses what comes meanwhile.
    pub ahead_bytes: u32,
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

/// What a board measures inferences with.
pub trait Clock {
    /// What it counts.
    const UNIT: TickUnit;
    /// Waits until it has just advanced, if it is coarser than what it counts.
    fn begin(&mut self);
    /// Counts since the start.
    fn count(&mut self) -> u64;
    /// Counts in a second.
    fn per_second(&self) -> u64;
}

struct Equipment<'s, C> {
    clock: C,
    sensor: Option<&'s mut dyn Sensor>,
}

impl<C: Clock> Platform for Equipment<'_, C> {
    fn ticks(&mut self) -> u64 {
        self.clock.count()
    }

    fn ticks_per_second(&self) -> u64 {
        self.clock.per_second()
    }

    fn begin_measurement(&mut self) {
        self.clock.begin();
    }

    fn stack_used(&self) -> u32 {
        stack::used()
    }

    fn sensor(&mut self) -> Option<&mut dyn Sensor> {
        match &mut self.sensor {
            Some(sensor) => Some(&mut **sensor),
            None => None,
        }
    }

    #[cfg(feature = "signed")]
    fn admit(&self, file: &[u8], running: Option<u32>) -> Result<(), Refusal<'static>> {
        AUTHORITY.admit(file, running)
    }
}

#[cfg(feature = "signed")]
const AUTHORITY: Authority = include!(concat!(env!("OUT_DIR"), "/authority.rs"));

/// Answers requests for ever, without a sensor.
pub fn serve<L, F, C, const FRAME: usize, const RESULTS: usize>(
    identity: Identity,
    link: L,
    flash: F,
    clock: C,
    arena: &'static mut [u8],
    workspace: &'static mut Workspace<FRAME, RESULTS>,
) -> !
where
    L: Read<Error = Infallible> + Write,
    F: ModelFlash,
    C: Clock,
{
    serve_with(identity, link, flash, clock, None, arena, workspace)
}

/// Answers requests for ever.
pub fn serve_with<L, F, C, const FRAME: usize, const RESULTS: usize>(
    identity: Identity,
    link: L,
    flash: F,
    clock: C,
    sensor: Option<&mut dyn Sensor>,
    arena: &'static mut [u8],
    workspace: &'static mut Workspace<FRAME, RESULTS>,
) -> !
where
    L: Read<Error = Infallible> + Write,
    F: ModelFlash,
    C: Clock,
{
    arch::prepare();
    let board = Board {
        description: Description {
            name: identity.name,
            core: identity.core,
            tick: C::UNIT,
            stack_bytes: stack::reserved(),
            slots: identity.slots,
            ahead_bytes: identity.ahead_bytes,
        },
        link,
        flash,
        platform: Equipment { clock, sensor },
        arena,
        results: &mut workspace.results,
        buffers: &mut workspace.buffers,
    };
    // The link never closes; one that fails is started anew with everything else.
    let _ = service::run(board);
    stop(104, format_args!("the serial port is closed"))
}
