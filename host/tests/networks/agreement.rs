//! Residual networks as integers against the same networks with fake quantization.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use candle_core::Tensor;
use lowbit_host::dfq::refinement::Settings;
use lowbit_host::dfq::{Config, RunDirectory, Trainer, Unwatched, quantizer};
use lowbit_host::graph::tensor_file::TensorFile;
use lowbit_host::graph::{ActivationRange, NodeId, Op, QuantizedGraph};
use lowbit_host::lower::{self, Options};
use lowbit_host::pack;
use lowbit_host::zoo::{self, Parameters};
use lowbit_runtime::format::Kind;

use crate::compared::{Agreement, compare, exact_normalization, random_images};
use crate::files::data;
use crate::small::{random_network, with_widths};

/// A published random network, its tensors called `net.<name>`.
struct GoldenWeights<'a>(&'a TensorFile);

impl Parameters for GoldenWeights<'_> {
    fn contains(&self, name: &str) -> bool {
        self.0.shape(&format!("net.{name}")).is_some()
    }

    fn get(&mut self, name: &str, shape: &[usize]) -> candle_core::Result<Tensor> {
        let tensor = self.0.tensor(&format!("net.{name}"), shape);
        tensor.map_err(candle_core::Error::wrap)
    }
}

/// One network of the golden files at one width, with the ranges that its authors' code found.
fn golden(file: &TensorFile, network: &str, bits: u8) -> QuantizedGraph {
    let graph = zoo::network(network)
        .unwrap()
        .build(&mut GoldenWeights(file), 10, exact_normalization(3))
        .unwrap();
    let relus = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Relu))
        .count();
    let ends = |part: &str| {
        let tensor = file
            .tensor(&format!("w{bits}a{bits}.{part}"), &[relus])
            .unwrap();
        tensor.to_vec1::<f32>().unwrap()
    };
    let mut ranges = ends("x_min").into_iter().zip(ends("x_max"));
    let ranges = graph.nodes.iter().map(|node| {
        let (min, max) = matches!(node.op, Op::Relu).then(|| ranges.next().unwrap())?;
        Some(ActivationRange { bits, min, max })
    });
    let ranges = ranges.collect();
    with_widths(graph, ranges, |_| bits)
}

#[expect(
    clippy::print_stderr,
    reason = "the figures belong to the test's record"
)]
fn report(what: &str, agreement: Agreement) {
    let Agreement {
        codes,
        differences,
        logits,
    } = agreement;
    eprintln!("{what}: {differences} of {codes} codes differ by 1, logits by {logits:e}");
}

/// At most one code in 10^5 lies so close to a rounding boundary that single precision decides;
/// logits are rounded to 2^-16.
fn check(what: &str, network: &QuantizedGraph, images: usize) {
    let [channels, height, width] = network.graph.input_shape;
    let agreement = compare(
        network,
        &random_images([height, width, channels], images, 7),
    );
    report(what, agreement);
    assert!(
        agreement.differences * 100_000 <= agreement.codes,
        "{agreement:?}"
    );
    assert!(agreement.logits < 1e-4, "{agreement:?}");
}

#[test]
fn golden_networks_agree_with_fake_quantization() {
    for network in ["resnet8", "resnet20"] {
        let Some(path) = data(&format!("../golden/{network}.safetensors")) else {
            return;
        };
        let file = TensorFile::read(&path).unwrap();
        for bits in [3, 4, 8] {
            check(
                &format!("{network} w{bits}a{bits}"),
                &golden(&file, network, bits),
                2,
            );
        }
    }
}

#[test]
fn parameter_free_shortcuts_agree_with_fake_quantization() {
    for bits in 2..=8 {
        let network = random_network("resnet20", bits);
        check(
            &format!("resnet20 with shortcut A w{bits}a{bits}"),
            &network,
            1,
        );
    }
}

/// Cuts the range of every output channel's weights to six tenths, with 0 in it.
fn with_narrow_weights(mut network: QuantizedGraph) -> QuantizedGraph {
    for (index, node) in network.graph.nodes.iter().enumerate() {
        let weight = match &node.op {
            Op::Conv2d(conv) => &conv.weight,
            Op::Linear(linear) => &linear.weight,
            _ => continue,
        };
        let rows = weight.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
        let ends = rows.iter().flat_map(|row| {
            let (min, max) = quantizer::range(row);
            [0.6 * min.min(0.0), 0.6 * max.max(0.0)]
        });
        let ranges = Tensor::from_vec(ends.collect(), (rows.len(), 2), weight.device());
        network.weight_ranges.insert(NodeId(index), ranges.unwrap());
    }
    network
}

#[test]
fn learned_ranges_of_weights_agree_with_fake_quantization() {
    for bits in [2, 3, 4, 8] {
        let network = with_narrow_weights(random_network("resnet8", bits));
        check(&format!("narrow weights w{bits}a{bits}"), &network, 2);
    }
}

#[test]
fn a_refined_network_agrees_with_fake_quantization() {
    let teacher = random_network("resnet8", 8).graph;
    let config = Config {
        bits: "w3a3".parse().unwrap(),
        epochs: 1,
        iterations: 2,
        refinement: Settings {
            epochs: 2,
            batch: 4,
            ..Settings::default()
        },
        ..Config::default()
    };
    let mut trainer = Trainer::new(teacher, config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(folder.path(), trainer.config()).unwrap();
    let stop = AtomicBool::new(false);
    trainer.run(&directory, &mut Unwatched, &stop).unwrap();
    let network = trainer.quantized_graph().unwrap();
    assert_eq!(network.weight_ranges.len(), 8);
    check("refined w3a3", &network, 2);
}

#[test]
fn networks_of_other_kinds_agree_with_fake_quantization() {
    for (name, bits) in [
        ("mlperf_tiny_vww_mobilenetv1_025", 4),
        ("mlperf_tiny_kws_dscnn", 3),
        ("mlperf_tiny_resnet8", 5),
        ("cifar100_resnet20_wide_stem", 4),
        ("vgg16", 2),
    ] {
        check(name, &random_network(name, bits), 1);
    }
}

#[test]
fn networks_for_imagenet_have_integer_form() {
    for name in ["resnet18", "mobilenetv2"] {
        let graph = zoo::network(name).unwrap().outline().unwrap();
        let range = |_| ActivationRange {
            bits: 4,
            min: -1.0,
            max: 6.0,
        };
        let ranges = graph.quantizers().into_iter();
        let ranges = ranges.map(|quantizer| quantizer.map(range)).collect();
        let program = lower::lower(&with_widths(graph, ranges, |_| 4), &Options::default());
        report_arena(name, program.unwrap().arena_bytes);
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the figures belong to the test's record"
)]
fn report_arena(name: &str, bytes: u32) {
    eprintln!("{name} w4a4: arena of {bytes} bytes");
}

#[test]
fn resnet20_at_4_bits_fits_its_budgets() {
    let program = lower::lower(&random_network("resnet20", 4), &Options::default()).unwrap();
    let file = pack::pack(&program, &[]).unwrap();
    report_sizes(program.arena_bytes, file.len());
    assert!(program.arena_bytes <= 64 << 10);
    assert!(file.len() <= 160 << 10);
}

#[expect(
    clippy::print_stderr,
    reason = "the figures belong to the test's record"
)]
fn report_sizes(arena: u32, file: usize) {
    eprintln!("resnet20 w4a4: arena of {arena} bytes, file of {file} bytes");
}

#[test]
fn residual_sums_are_part_of_convolutions() {
    let program = lower::lower(&random_network("resnet20", 4), &Options::default()).unwrap();
    let mut kinds = HashMap::new();
    for step in &program.steps {
        *kinds.entry(std::mem::discriminant(&step.kind)).or_insert(0) += 1;
        assert!(!matches!(step.kind, Kind::Add { .. }), "{}", step.name);
    }
    // Input table, 19 convolutions, pool, logits.
    assert_eq!(program.steps.len(), 22);
    assert_eq!(kinds.len(), 4);
}

#[test]
fn networks_without_ranges_are_refused_by_name() {
    let mut network = random_network("resnet8", 4);
    let node = network
        .graph
        .nodes
        .iter()
        .position(|node| node.name == "layer2.0.relu1");
    network.activations[node.unwrap()] = None;
    let error = lower::lower(&network, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`layer2.0.relu1`") && error.contains("range"),
        "{error}"
    );
}
