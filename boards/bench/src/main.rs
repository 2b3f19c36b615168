//! Runs the models in a file of the host once each and prints what every operation costs.
//!
//! `models.bench` in the emulator's working directory holds packed models, each behind its length
//! (`u32`, little-endian). For every model there is a line per operation, `instructions name`, then
//! a line `end`.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "arm", expect(unsafe_code, reason = "the core's timer"))]

use core::ops::ControlFlow;

use lowbit_board_common::arch::{Instructions, entry};
use lowbit_board_common::linker::Memory;
use lowbit_runtime::engine::{Engine, Observer, TensorView};
use lowbit_runtime::format::{Model, Operation};
use semihosting::fs::File;
use semihosting::io::Read;
use semihosting::{eprintln, println, process};

/// Where the start-up code goes.
#[entry]
fn main() -> ! {
    match measure_all() {
        Ok(()) => process::exit(0),
        Err(reason) => {
            eprintln!("bench: {reason}");
            process::exit(1)
        }
    }
}

fn measure_all() -> Result<(), &'static str> {
    let Memory { models, arena } = Memory::take().ok_or("the memory is taken")?;
    let mut file = File::open(c"models.bench").map_err(|_| "there is no `models.bench`")?;
    let mut instructions = counter();
    loop {
        let mut length = [0; 4];
        if read(&mut file, &mut length)? == 0 {
            return Ok(());
        }
        let length = u32::from_le_bytes(length) as usize;
        let place = models.get_mut(..length).ok_or("a model is too large")?;
        if read(&mut file, place)? != length {
            return Err("a model is cut off");
        }
        measure(place, arena, &mut instructions)?;
    }
}

#[cfg(target_arch = "arm")]
fn counter() -> Instructions {
    let instructions = env!("INSTRUCTIONS_PER_TWO_TICKS").parse().unwrap_or(1);
    // SAFETY: nothing else uses the core's timer.
    unsafe { Instructions::new(instructions) }
}

#[cfg(target_arch = "riscv32")]
fn counter() -> Instructions {
    Instructions
}

/// Fills `into`, if the file has that much; returns the number of bytes.
fn read(file: &mut File, into: &mut [u8]) -> Result<usize, &'static str> {
    let mut done = 0;
    while done < into.len() {
        match file.read(&mut into[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(_) => return Err("`models.bench` cannot be read"),
        }
    }
    Ok(done)
}

fn measure(
    file: &[u8],
    arena: &mut [u8],
    instructions: &mut Instructions,
) -> Result<(), &'static str> {
    let model = Model::new_checked(file).map_err(|_| "a model is refused")?;
    let mut engine = Engine::new(model, arena).map_err(|_| "a model needs a larger arena")?;
    let mut noise = 1u32;
    for pixel in engine.pixels_mut() {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *pixel = (noise >> 24) as u8;
    }
    instructions.begin();
    let since = instructions.count();
    let mut printed = Printed {
        instructions,
        since,
    };
    engine.run(&mut printed);
    println!("end");
    Ok(())
}

/// Prints what each operation took; printing itself does not count.
struct Printed<'a> {
    instructions: &'a mut Instructions,
    since: u64,
}

impl Observer for Printed<'_> {
    fn observe(
        &mut self,
        _: usize,
        operation: &Operation<'_>,
        _: &TensorView<'_>,
    ) -> ControlFlow<()> {
        let count = self.instructions.count() - self.since;
        println!("{count} {}", operation.name);
        self.instructions.begin();
        self.since = self.instructions.count();
        ControlFlow::Continue(())
    }
}
