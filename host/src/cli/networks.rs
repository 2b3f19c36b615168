//! `lowbit networks`.

use clap::Args;
use lowbit_host::graph::macs;
use lowbit_host::zoo::{self, Network};
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::output::grouped;

const EXAMPLES: &str = "\
Examples:
  lowbit networks
  lowbit networks --json

Checkpoints (.safetensors, .pth, .pt, .th) of these networks can be quantized by `--network NAME`;
any other network of convolutions, BatchNorm, ReLU or ReLU6, sums, pools and linear layers as an
ONNX file, which needs no name. RAM is that of the activations at 8 bits, before packing;
`lowbit inspect` tells the exact need of a packed file.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    description: &'static str,
    /// Channels, height and width.
    input: [usize; 3],
    classes: usize,
    parameters: usize,
    multiplications: u64,
    activation_bytes: usize,
}

impl Row {
    fn new(network: &Network) -> Result<Self, Failure> {
        let graph = network.outline()?;
        let tensors = graph.parameters();
        Ok(Self {
            name: network.name,
            description: network.description,
            input: network.input_shape,
            classes: graph.classes,
            parameters: tensors.iter().map(|(_, tensor)| tensor.elem_count()).sum(),
            multiplications: macs(&graph)?.iter().sum(),
            activation_bytes: graph.activation_bytes()?,
        })
    }
}

pub(crate) fn run(context: &Context, _arguments: &Arguments) -> Result<Outcome, Failure> {
    let rows = zoo::networks()
        .iter()
        .map(Row::new)
        .collect::<Result<Vec<_>, _>>()?;
    context.output.result(&rows, || text(&rows))?;
    Ok(Outcome::Done)
}

fn text(rows: &[Row]) -> String {
    let mut lines = vec![format!(
        "{:<32}{:>12}{:>9}{:>12}{:>10}{:>10}  {}",
        "network", "input", "classes", "parameters", "MACs", "RAM", "what it is"
    )];
    for row in rows {
        let [channels, height, width] = row.input;
        lines.push(format!(
            "{:<32}{:>12}{:>9}{:>12}{:>8.1} M{:>6} KiB  {}",
            row.name,
            format!("{channels}x{height}x{width}"),
            row.classes,
            grouped(row.parameters as u64),
            row.multiplications as f64 / 1e6,
            row.activation_bytes.div_ceil(1024),
            row.description
        ));
    }
    lines.join("\n")
}
