//! Runs random operations with the tuned kernels and with the reference on the core itself, and
//! compares every code. The exit status says whether all are equal. Before that, it prints the
//! features of the host's sounds, for the host to compare.
//!
//! ```sh
//! cargo test --release --package lowbit-tests kernels
//! ```
#![no_std]
#![no_main]

mod addition;
mod problem;
mod random;
mod sounds;

use addition::Addition;
use lowbit_board_common::arch::entry;
use lowbit_board_common::linker;
use lowbit_runtime::kernels::Kernels;
use problem::{Memory, Problem, Shortcut};
use random::Random;
use semihosting::{eprintln, println, process};

/// Random sums.
const ADDITIONS: usize = 300;
/// Random convolutions.
const PROBLEMS: usize = 600;

/// Where the start-up code goes.
#[entry]
fn main() -> ! {
    let memory = linker::Memory::take();
    let memory = memory.and_then(|memory| Some((memory.models, Memory::new(memory.arena)?)));
    let Some((for_sounds, mut memory)) = memory else {
        eprintln!("the memory is taken or too small");
        process::exit(1)
    };
    if let Err(reason) = sounds::print_features(for_sounds) {
        eprintln!("{reason}");
        process::exit(1)
    }
    let mut random = Random(1);
    let mut differences = 0;
    for index in 0..PROBLEMS {
        let problem = match index % 10 {
            9 => Problem::extreme(&mut random),
            _ => Problem::random(&mut random),
        };
        if !agree(&problem, &mut memory) {
            println!("DIFFERENT {problem:?}");
            differences += 1;
        }
    }
    for _ in 0..ADDITIONS {
        let addition = Addition::random(&mut random);
        if !addition.agrees(&mut memory) {
            println!("DIFFERENT {addition:?}");
            differences += 1;
        }
    }
    println!("{PROBLEMS} convolutions and {ADDITIONS} sums, {differences} differences");
    process::exit(i32::from(differences > 0))
}

fn agree(problem: &Problem, memory: &mut Memory) -> bool {
    problem.prepare(memory);
    let before = if problem.shortcut == Shortcut::InPlace {
        5
    } else {
        0xa5
    };
    let length = problem.output_bytes();
    for image in &mut memory.outputs {
        image[..length].fill(before);
    }
    problem.run(Kernels::Reference, memory, 0);
    problem.run(Kernels::Tuned, memory, 1);
    let [reference, tuned] = &memory.outputs;
    reference[..length] == tuned[..length]
}
