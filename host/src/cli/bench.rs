//! `lowbit bench`.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::board::{self, Layer, Measurement};
use lowbit_host::integer::IntegerNetwork;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::Context;
use super::failure::{Failure, Outcome};
use super::link::{LinkArguments, explain};
use super::output::{columns, grouped, table};
use super::{flash, model};

const EXAMPLES: &str = "\
Examples:
  lowbit bench --board mps2-an386 model.lowbit
  lowbit bench --board lm3s6965evb model.lowbit --json

Writes the model to the board if it is not there, and measures one inference on noise. An emulated
board counts instructions, which are not cycles; its counts repeat exactly.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    link: LinkArguments,
    /// A packed file
    model: PathBuf,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let packed = model::read_packed(&arguments.model)?;
    let mut client = arguments.link.connect(context)?;
    flash::write(context.output, &mut client, &packed)?;
    let pixels = noise(IntegerNetwork::new(&packed)?.model().pixel_bytes());
    let measurement = board::bench(&mut client, &packed, &pixels).map_err(explain)?;
    context.output.result(&measurement, || text(&measurement))?;
    Ok(Outcome::Done)
}

/// The same pixels every time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut generator = ChaCha12Rng::seed_from_u64(0);
    (0..bytes).map(|_| generator.random()).collect()
}

/// What the board counts.
struct Count {
    unit: &'static str,
    of_layer: fn(&Layer) -> Option<u64>,
    total: u64,
}

impl Count {
    fn of(measurement: &Measurement) -> Self {
        if let Some(total) = measurement.cycles {
            return Self {
                unit: "cycles",
                of_layer: |layer| layer.cycles,
                total,
            };
        }
        if let Some(total) = measurement.nanoseconds {
            return Self {
                unit: "ns",
                of_layer: |layer| layer.nanoseconds,
                total,
            };
        }
        Self {
            unit: "instructions",
            of_layer: |layer| layer.instructions,
            total: measurement.instructions.unwrap_or_default(),
        }
    }
}

fn text(measurement: &Measurement) -> String {
    let Count {
        unit,
        of_layer,
        total,
    } = Count::of(measurement);
    let rows = measurement.layers.iter().map(|layer| {
        let count = of_layer(layer).unwrap_or_default();
        vec![
            layer.name.clone(),
            layer.op.clone(),
            grouped(layer.macs),
            grouped(count),
            per_mac(count, layer.macs),
        ]
    });
    let rows = rows.collect::<Vec<_>>();
    let mut facts = vec![
        (
            "board",
            format!("{} ({})", measurement.board, measurement.core),
        ),
        (unit, grouped(total)),
        ("MACs", grouped(measurement.macs)),
        ("per MAC", per_mac(total, measurement.macs)),
        (
            "file",
            format!("{} bytes", grouped(measurement.model_bytes as u64)),
        ),
        (
            "arena",
            format!("{} bytes", grouped(measurement.arena_bytes.into())),
        ),
    ];
    facts.extend(
        measurement
            .stack_bytes
            .map(|bytes| ("stack", format!("{} bytes", grouped(bytes.into())))),
    );
    let header = ["layer", "op", "MACs", unit, "per MAC"];
    format!("{}\n{}", columns(&header, &rows), table(&facts))
}

fn per_mac(count: u64, macs: u64) -> String {
    match macs {
        0 => "-".to_owned(),
        macs => format!("{:.3}", count as f64 / macs as f64),
    }
}
