//! `lowbit bench` on a board.

use lowbit_host::board::{self, Client, Layer, Measurement};
use lowbit_host::integer::IntegerNetwork;

use super::noise;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::link::explain;
use crate::cli::output::{columns, grouped, table};
use crate::cli::{Context, flash};

pub(super) fn run(
    context: &Context,
    mut client: Client,
    packed: &[u8],
) -> Result<Outcome, Failure> {
    flash::write(context.output, &mut client, packed)?;
    let bytes = IntegerNetwork::new(packed)?.model().pixel_bytes();
    let pixels = noise(1, bytes).concat();
    let measurement = board::bench(&mut client, packed, &pixels).map_err(explain)?;
    context.output.result(&measurement, || text(&measurement))?;
    Ok(Outcome::Done)
}

/// What the board counts.
pub(crate) struct Count {
    pub(crate) unit: &'static str,
    pub(crate) of_layer: fn(&Layer) -> Option<u64>,
    total: u64,
}

impl Count {
    pub(crate) fn of(measurement: &Measurement) -> Self {
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
