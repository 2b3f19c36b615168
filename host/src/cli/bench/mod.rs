//! `lowbit bench`.

mod board;
mod computer;

use std::path::PathBuf;

use clap::Args;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::Context;
use super::failure::{Failure, Outcome};
use super::link::ConnectionArguments;
use super::model;
pub(crate) use board::Count;

const EXAMPLES: &str = "\
Examples:
  lowbit bench model.lowbit
  lowbit bench model.lowbit --backend cpu,wgpu --batch 1,64,1024
  lowbit bench model.lowbit --backend wgpu --adapter nvidia --json
  lowbit bench model.lowbit --board mps2-an386

Without --board this computer is measured: images per second on noise, the median of several
rounds in which all backends and batch sizes take turns. Of a GPU also the time that it computes
itself, and which share that is of the products it reaches when it does nothing else.

With --board the model is written to the board if it is not there, and one inference on noise is
measured. An emulated board counts instructions, which are not cycles; its counts repeat exactly.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A packed file
    model: PathBuf,
    /// Name of the board, see `lowbit boards` [default: this computer]
    #[arg(long, value_name = "NAME")]
    board: Option<String>,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    computer: computer::Arguments,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let packed = model::read_packed(&arguments.model)?;
    match &arguments.board {
        Some(board) => {
            let client = arguments.connection.connect(context, board)?;
            board::run(context, client, &packed)
        }
        None => computer::run(context, &arguments.computer, &packed),
    }
}

/// Images of `bytes` bytes, the same every time.
fn noise(images: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut generator = ChaCha12Rng::seed_from_u64(0);
    let mut image = || (0..bytes).map(|_| generator.random()).collect();
    (0..images).map(|_| image()).collect()
}
