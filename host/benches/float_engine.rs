//! Milliseconds of the float operators and networks of a training step, batch 16: the smallest of
//! several runs, as other work on the machine only ever adds. An argument selects by name.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Instant;

use candle_core::{Device, Tensor};
use lowbit_host::graph::{
    BatchNorm, Conv2d, Graph, Linear, Node, NodeId, Normalization, Op, Padding, Placement,
};
use lowbit_host::nn::Result;
use lowbit_host::nn::executor::{
    BatchStatistics, ExtraGradients, ForwardOptions, Wanted, backward, forward,
};
use lowbit_host::nn::ops::conv2d;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 16;
const RUNS: usize = 40;

fn main() -> Result<()> {
    convolution("conv 128->64 @32", 128, 64, 32, 3, 1)?;
    convolution("conv 128->128 @16", 128, 128, 16, 3, 1)?;
    convolution("conv 64->3 @32", 64, 3, 32, 3, 1)?;
    convolution("conv 16->16 @32", 16, 16, 32, 3, 1)?;
    convolution("conv 32->32 @16", 32, 32, 16, 3, 1)?;
    convolution("conv 64->64 @8", 64, 64, 8, 3, 1)?;
    convolution("conv 16->32 @32 /2", 16, 32, 32, 3, 1)?;
    convolution("depthwise 96 @16", 96, 96, 16, 3, 96)?;
    network("ResNet-20", &resnet20()?, BatchStatistics::Running)?;
    network("generator", &generator()?, BatchStatistics::Batch)
}

fn convolution(
    name: &str,
    inputs: usize,
    outputs: usize,
    size: usize,
    kernel: usize,
    groups: usize,
) -> Result<()> {
    if !is_selected(name) {
        return Ok(());
    }
    let stride = if name.ends_with("/2") { 2 } else { 1 };
    let Op::Conv2d(conv) = conv2d_op([outputs, inputs / groups, kernel, kernel], stride, groups)?
    else {
        return Ok(());
    };
    let input = numbers(&[BATCH, inputs, size, size], 1.0)?;
    let output = conv2d::forward(&conv, &conv.weight, &input)?;
    let forward = fastest(|| conv2d::forward(&conv, &conv.weight, &input))?;
    let of_input = fastest(|| conv2d::backward_input(&conv, &conv.weight, input.dims(), &output))?;
    let of_weight = fastest(|| conv2d::backward_weight(&conv, &input, &output))?;
    println!(
        "{name:20} forward {forward:7.2}  gradient of input {of_input:7.2}  of weight {of_weight:7.2}"
    );
    Ok(())
}

fn network(name: &str, graph: &Graph, batch_statistics: BatchStatistics) -> Result<()> {
    if !is_selected(name) {
        return Ok(());
    }
    let mut shape = vec![BATCH];
    match graph.nodes[1].op {
        Op::Linear(_) => shape.push(100),
        _ => shape.extend(graph.input_shape),
    }
    let input = numbers(&shape, 1.0)?;
    let options = ForwardOptions {
        batch_statistics,
        keep_for_backward: true,
        record_batch_norm_inputs: false,
    };
    let pass = forward(graph, &input, options, &mut ())?;
    let recording = ForwardOptions {
        record_batch_norm_inputs: true,
        ..options
    };
    let alone = fastest(|| forward(graph, &input, options, &mut ()))?;
    let recorded = fastest(|| forward(graph, &input, recording, &mut ()))?;
    print!("{name:20} forward {alone:7.2}  with statistics {recorded:7.2}");
    for (what, input, parameters) in [
        ("input", true, false),
        ("parameters", false, true),
        ("both", true, true),
    ] {
        let wanted = Wanted { input, parameters };
        let time = fastest(|| {
            backward(
                graph,
                &pass,
                pass.output(),
                wanted,
                &ExtraGradients::default(),
            )
        })?;
        print!("  gradients of {what} {time:7.2}");
    }
    println!();
    Ok(())
}

fn is_selected(name: &str) -> bool {
    // Cargo itself passes `--bench`.
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .peekable();
    words.peek().is_none() || words.any(|word| name.contains(&word))
}

/// Smallest time of [`RUNS`] calls in milliseconds.
fn fastest<T>(mut work: impl FnMut() -> Result<T>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        let result = work()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
        drop(result);
    }
    Ok(best)
}

/// Numbers of both signs without a pattern.
fn numbers(shape: &[usize], scale: f32) -> Result<Tensor> {
    let mut state = 1_u32;
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        scale * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
    });
    Ok(Tensor::from_vec(
        values.collect::<Vec<_>>(),
        shape,
        &Device::Cpu,
    )?)
}

fn conv2d_op(weight: [usize; 4], stride: usize, groups: usize) -> Result<Op> {
    let [_, inputs, height, width] = weight;
    Ok(Op::Conv2d(Conv2d {
        weight: numbers(&weight, 1.7 / ((inputs * height * width) as f32).sqrt())?,
        bias: None,
        stride,
        padding: Padding::same(height / 2),
        groups,
    }))
}

fn batch_norm(channels: usize) -> Result<Op> {
    let constant = |value: f32| Tensor::full(value, channels, &Device::Cpu);
    Ok(Op::BatchNorm(BatchNorm {
        weight: Some(constant(1.0)?),
        bias: Some(constant(0.0)?),
        running_mean: constant(0.0)?,
        running_var: constant(1.0)?,
        eps: 1e-5,
    }))
}

fn linear(outputs: usize, inputs: usize) -> Result<Op> {
    let weight = numbers(&[outputs, inputs], 1.7 / (inputs as f32).sqrt())?;
    Ok(Op::Linear(Linear {
        weight,
        bias: Some(numbers(&[outputs], 0.1)?),
    }))
}

/// Nodes that read the node before them, unless told otherwise.
struct Builder(Vec<Node>);

impl Builder {
    fn new() -> Self {
        Self(vec![Node {
            name: "input".into(),
            op: Op::Input,
            inputs: Vec::new(),
        }])
    }

    fn last(&self) -> NodeId {
        NodeId(self.0.len() - 1)
    }

    fn push(&mut self, op: Op) {
        let inputs = vec![self.last()];
        self.join(op, inputs);
    }

    fn join(&mut self, op: Op, inputs: Vec<NodeId>) {
        self.0.push(Node {
            name: format!("node{}", self.0.len()),
            op,
            inputs,
        });
    }

    fn graph(self, name: &str) -> Graph {
        Graph {
            name: name.into(),
            input_shape: [3, 32, 32],
            normalization: Normalization {
                mean: vec![0.5; 3],
                std: vec![0.25; 3],
            },
            classes: 10,
            nodes: self.0,
            placement: Placement::default(),
        }
    }
}

fn resnet20() -> Result<Graph> {
    let mut nodes = Builder::new();
    nodes.push(conv2d_op([16, 3, 3, 3], 1, 1)?);
    nodes.push(batch_norm(16)?);
    nodes.push(Op::Relu);
    let mut channels = 16;
    for width in [16, 32, 64] {
        for _ in 0..3 {
            let stride = if width == channels { 1 } else { 2 };
            let mut shortcut = nodes.last();
            if stride == 2 {
                let pad = channels / 2;
                let op = Op::SubsamplePad {
                    stride,
                    front: pad,
                    back: pad,
                };
                nodes.join(op, vec![shortcut]);
                let padded = nodes.last();
                nodes.join(
                    conv2d_op([width, channels, 3, 3], stride, 1)?,
                    vec![shortcut],
                );
                shortcut = padded;
            } else {
                nodes.push(conv2d_op([width, channels, 3, 3], stride, 1)?);
            }
            nodes.push(batch_norm(width)?);
            nodes.push(Op::Relu);
            nodes.push(conv2d_op([width, width, 3, 3], 1, 1)?);
            nodes.push(batch_norm(width)?);
            let body = nodes.last();
            nodes.join(Op::Add, vec![body, shortcut]);
            nodes.push(Op::Relu);
            channels = width;
        }
    }
    nodes.push(Op::GlobalAveragePool);
    nodes.push(linear(10, 64)?);
    Ok(nodes.graph("resnet20"))
}

fn generator() -> Result<Graph> {
    let mut nodes = Builder::new();
    nodes.push(linear(128 * 64, 100)?);
    nodes.push(Op::Reshape { shape: [128, 8, 8] });
    nodes.push(batch_norm(128)?);
    nodes.push(Op::Upsample { factor: 2 });
    nodes.push(conv2d_op([128, 128, 3, 3], 1, 1)?);
    nodes.push(batch_norm(128)?);
    nodes.push(Op::LeakyRelu { slope: 0.2 });
    nodes.push(Op::Upsample { factor: 2 });
    nodes.push(conv2d_op([64, 128, 3, 3], 1, 1)?);
    nodes.push(batch_norm(64)?);
    nodes.push(Op::LeakyRelu { slope: 0.2 });
    nodes.push(conv2d_op([3, 64, 3, 3], 1, 1)?);
    nodes.push(Op::Tanh);
    nodes.push(batch_norm(3)?);
    Ok(nodes.graph("generator"))
}
