//! Layers of the shapes that the field measures, and whole networks, as packed models.

use lowbit_host::graph::{NodeId, Op, QuantizedGraph};
use lowbit_host::lower::{self, Options};
use lowbit_host::pack;
use lowbit_runtime::format::Model;
use lowbit_tests::{NetworkBuilder, Shape, random_network};

/// Bits of weights and of activations.
const WIDTHS: [[u8; 2]; 5] = [[8, 8], [4, 4], [4, 8], [3, 3], [2, 2]];
/// Name of the layer that is measured.
const MEASURED: &str = "measured";

/// Something to measure.
pub(crate) struct Workload {
    /// What it is, e.g. `conv 3x3 16→16 @32x32`.
    pub(crate) name: &'static str,
    /// e.g. `w4a4`.
    pub(crate) bits: String,
    pub(crate) macs: u64,
    pub(crate) model: Vec<u8>,
    /// The operation that counts; all of them if there is none.
    pub(crate) layer: Option<&'static str>,
}

impl Workload {
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.name, self.bits)
    }
}

/// One layer between an image and a classifier.
struct Layer {
    name: &'static str,
    /// Channels, height and width of what it reads.
    input: [usize; 3],
    kind: Kind,
}

enum Kind {
    /// Channels written, kernel, stride.
    Conv(usize, usize, usize),
    Depthwise,
    /// Outputs, and the classifier behind it.
    Hidden(usize),
    Classifier(usize),
    Add,
    AveragePool,
}

const fn layer(name: &'static str, input: [usize; 3], kind: Kind) -> Layer {
    Layer { name, input, kind }
}

const LAYERS: [Layer; 15] = [
    layer("conv 3x3 3→16 @32x32", [3, 32, 32], Kind::Conv(16, 3, 1)),
    layer("conv 3x3 16→16 @32x32", [16, 32, 32], Kind::Conv(16, 3, 1)),
    layer(
        "conv 3x3 16→32 s2 @32x32",
        [16, 32, 32],
        Kind::Conv(32, 3, 2),
    ),
    layer("conv 3x3 32→32 @16x16", [32, 16, 16], Kind::Conv(32, 3, 1)),
    layer("conv 3x3 64→64 @8x8", [64, 8, 8], Kind::Conv(64, 3, 1)),
    layer(
        "conv 1x1 16→32 s2 @32x32",
        [16, 32, 32],
        Kind::Conv(32, 1, 2),
    ),
    layer("linear 64→10", [64, 1, 1], Kind::Classifier(10)),
    layer("add 32x32x16", [16, 32, 32], Kind::Add),
    layer("average pool 8x8x64", [64, 8, 8], Kind::AveragePool),
    layer("pointwise 64→64 @25x5", [64, 25, 5], Kind::Conv(64, 1, 1)),
    layer("depthwise 3x3 64 @25x5", [64, 25, 5], Kind::Depthwise),
    layer("depthwise 3x3 8 @48x48", [8, 48, 48], Kind::Depthwise),
    layer("pointwise 8→16 @48x48", [8, 48, 48], Kind::Conv(16, 1, 1)),
    layer("pointwise 128→128 @6x6", [128, 6, 6], Kind::Conv(128, 1, 1)),
    layer("linear 640→128", [640, 1, 1], Kind::Hidden(128)),
];

/// Everything that is measured.
pub(crate) fn all() -> Vec<Workload> {
    let layers = LAYERS
        .iter()
        .flat_map(|layer| WIDTHS.map(|bits| single(layer, bits)));
    let networks = [("ResNet-20", "resnet20"), ("ResNet-8", "resnet8")];
    let networks = networks
        .into_iter()
        .flat_map(|(name, network)| [8, 4, 2].map(|bits| whole(name, network, bits)));
    layers.chain(networks).collect()
}

fn whole(name: &'static str, network: &str, bits: u8) -> Workload {
    let model = random_network(network, bits);
    Workload {
        name,
        bits: format!("w{bits}a{bits}"),
        macs: macs(&model, None),
        model,
        layer: None,
    }
}

fn single(layer: &Layer, bits: [u8; 2]) -> Workload {
    let network = network(layer, bits);
    let program = lower::lower(&network, &Options::default()).expect("has integer form");
    let model = pack::pack(&program, &[]).expect("packs");
    Workload {
        name: layer.name,
        bits: format!("w{}a{}", bits[0], bits[1]),
        macs: macs(&model, Some(MEASURED)),
        model,
        layer: Some(MEASURED),
    }
}

fn macs(model: &[u8], layer: Option<&str>) -> u64 {
    let model = Model::new_checked(model).expect("is a model");
    let layers = lowbit_host::summary::layers(&model).into_iter();
    let layers = layers.filter(|found| layer.is_none_or(|layer| found.name == layer));
    layers.map(|layer| layer.macs).sum()
}

/// An image of one channel, spread over the channels that the layer reads by a pointwise
/// convolution, then the layer, then a classifier. The first layer of networks for coloured images
/// reads the image itself.
fn network(layer: &Layer, bits: [u8; 2]) -> QuantizedGraph {
    let [channels, height, width] = layer.input;
    let is_first = channels == 3;
    let image = [if is_first { channels } else { 1 }, height, width];
    let mut builder = NetworkBuilder::new("bench", image);
    let input = builder.input();
    let spread = Shape::dense(1, channels, 1);
    let input = if is_first {
        input
    } else {
        builder.conv("spread", &spread, [8, bits[1]], input)
    };
    measured(layer, bits, builder, input)
}

fn measured(
    layer: &Layer,
    bits: [u8; 2],
    mut builder: NetworkBuilder,
    input: NodeId,
) -> QuantizedGraph {
    let channels = layer.input[0];
    match layer.kind {
        Kind::Conv(written, kernel, stride) => {
            let shape = Shape {
                stride,
                ..Shape::dense(channels, written, kernel)
            };
            let output = builder.conv(MEASURED, &shape, bits, input);
            builder.classify(written, 10, output)
        }
        Kind::Depthwise => {
            let shape = Shape {
                groups: channels,
                ..Shape::dense(channels, channels, 3)
            };
            let output = builder.conv(MEASURED, &shape, bits, input);
            builder.classify(channels, 10, output)
        }
        Kind::Hidden(outputs) => {
            let flat = builder.push("flatten", Op::Flatten, &[input]);
            let hidden = builder.linear(MEASURED, [channels, outputs], bits[0], flat);
            let hidden = builder.relu("relu", bits[1], hidden);
            builder.linear("classifier", [outputs, 10], 8, hidden);
            builder.finish(10)
        }
        Kind::Classifier(classes) => {
            let flat = builder.push("flatten", Op::Flatten, &[input]);
            builder.linear(MEASURED, [channels, classes], bits[0], flat);
            builder.finish(classes)
        }
        Kind::Add => {
            let shape = Shape::dense(channels, channels, 1);
            let other = builder.conv("other", &shape, [8, bits[1]], input);
            let sum = builder.push("sum", Op::Add, &[input, other]);
            let sum = builder.relu(MEASURED, bits[1], sum);
            builder.classify(channels, 10, sum)
        }
        Kind::AveragePool => {
            let pooled = builder.push(MEASURED, Op::GlobalAveragePool, &[input]);
            let pooled = builder.quantize(bits[1], pooled);
            let flat = builder.push("flatten", Op::Flatten, &[pooled]);
            builder.linear("classifier", [channels, 10], 8, flat);
            builder.finish(10)
        }
    }
}
