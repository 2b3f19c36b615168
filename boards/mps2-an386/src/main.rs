//! Firmware of Arm's MPS2 board with the AN386 image, as QEMU emulates it.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "peripherals are fixed addresses")]

use cortex_m::singleton;
use lowbit_board_common::cmsdk::{Interrupt, Timer, Uart};
use lowbit_board_common::emulated_flash::EmulatedFlash;
use lowbit_board_common::{linker, stack};
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::{FRAME_BYTES, TickUnit};
use lowbit_runtime::service::{self, Board, Buffers, Description, Platform};

const UART0: usize = 0x4000_4000;
const UART0_RECEIVE: Interrupt = Interrupt(0);
const UART0_DIVIDER: u32 = 16;
const TIMER0: usize = 0x4000_0000;
/// With `-icount shift=0` an instruction takes 1 ns; the timer ticks at 25 MHz.
const INSTRUCTIONS_PER_TICK: u64 = 40;

const ARENA_BYTES: usize = 256 * 1024;

#[repr(align(8))]
struct Aligned<const N: usize>([u8; N]);

struct Emulated {
    timer: Timer,
}

impl Platform for Emulated {
    fn ticks(&mut self) -> u64 {
        self.timer.ticks() * INSTRUCTIONS_PER_TICK
    }

    fn stack_used(&self) -> u32 {
        stack::used()
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let memory = linker::take_models_memory().expect("taken once");
    let flash = EmulatedFlash::open(memory, c"mps2-an386.flash").expect("readable flash file");
    // SAFETY: the board has its first UART here, and nothing else uses it.
    let link = unsafe { Uart::new(UART0, UART0_DIVIDER, UART0_RECEIVE) };
    // SAFETY: the board has its first timer here, and nothing else uses it.
    let timer = unsafe { Timer::new(TIMER0) };
    let arena = singleton!(: Aligned<ARENA_BYTES> = Aligned([0; ARENA_BYTES])).expect("once");
    let results = singleton!(: [u8; 4 * MAX_OPERATIONS as usize] = [0; _]).expect("once");
    let buffers = singleton!(: Buffers<FRAME_BYTES> = Buffers::new()).expect("once");
    let board = Board {
        description: Description {
            name: "mps2-an386",
            core: "cortex-m4f",
            tick: TickUnit::Instructions,
            stack_bytes: stack::reserved(),
            slots: 2,
        },
        link,
        flash,
        platform: Emulated { timer },
        arena: &mut arena.0,
        results,
        buffers,
    };
    let Ok(()) = service::run(board);
    unreachable!("the UART never closes")
}
