//! Runs random operations with the tuned kernels and with the reference on the core itself, and
//! compares every code; then counts the instructions of layers of known sizes.
//!
//! ```sh
//! cd boards/kernel-tests && cargo run --release
//! ```
#![no_std]
#![no_main]

mod bench;
mod problem;
mod random;

use cortex_m::singleton;
use lowbit_runtime::kernels::Kernels;
use problem::{IMAGE_BYTES, Memory, Problem, Shortcut};
use random::Random;
use semihosting::{println, process};

/// Random problems.
const PROBLEMS: usize = 600;

#[cortex_m_rt::entry]
fn main() -> ! {
    let memory = singleton!(: Memory = Memory::new()).expect("once");
    let reference = singleton!(: [u8; IMAGE_BYTES] = [0; _]).expect("once");
    let tuned = singleton!(: [u8; IMAGE_BYTES] = [0; _]).expect("once");
    let mut random = Random(1);
    let mut differences = 0;
    for _ in 0..PROBLEMS {
        let problem = Problem::random(&mut random);
        if !agree(&problem, memory, reference, tuned) {
            println!("DIFFERENT {problem:?}");
            differences += 1;
        }
    }
    println!("{PROBLEMS} problems, {differences} differences");
    if differences > 0 {
        process::exit(1);
    }
    bench::run(memory, tuned);
    process::exit(0)
}

fn agree(problem: &Problem, memory: &mut Memory, reference: &mut [u8], tuned: &mut [u8]) -> bool {
    problem.prepare(memory);
    let length = problem.output_bytes();
    let (reference, tuned) = (&mut reference[..length], &mut tuned[..length]);
    let before = if problem.shortcut == Shortcut::InPlace {
        5
    } else {
        0xa5
    };
    reference.fill(before);
    tuned.fill(before);
    problem.run(Kernels::Reference, memory, reference);
    problem.run(Kernels::Tuned, memory, tuned);
    reference == tuned
}
