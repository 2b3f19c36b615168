//! Networks on a GPU, or on software Vulkan, against the engine: every element of every layer.

use std::env;
use std::io::{self, Write};
use std::sync::OnceLock;

use lowbit_runtime::batch::wgpu::{Error, Gpu, GpuNetwork};
use lowbit_runtime::format::Model;

use crate::support::{ConvCase, Element, Network, Random, Shortcut, engine_outputs, turned_images};

/// The GPU that all tests share. Where there is none, `test` is reported as skipped, or fails if
/// `CI` is set.
fn gpu(test: &str) -> Option<&'static Gpu> {
    static GPU: OnceLock<Result<Gpu, Error>> = OnceLock::new();
    match GPU.get_or_init(Gpu::new) {
        Ok(gpu) => Some(gpu),
        Err(error @ (Error::NoInterface | Error::NoAdapter(_))) if env::var_os("CI").is_none() => {
            // Not with `eprintln`, whose output the test harness hides for tests that pass.
            let mut stderr = io::stderr();
            writeln!(stderr, "skipped: {test}: {error}").unwrap();
            None
        }
        Err(error) => panic!("{test}: {error}: {error:?}"),
    }
}

/// Runs images made of the network's pixels and compares every element with the engine's.
fn compare(gpu: &Gpu, network: &mut Network, what: &str) {
    let file = network.pack();
    let model = Model::new_checked(&file).expect("a sound model");
    let images = turned_images(network.pixels());
    let slices: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
    let expected = engine_outputs(&model, &images).expect("the engine runs it");
    let mut on_gpu = GpuNetwork::new(gpu, &model, images.len()).expect("it fits the GPU");
    let found = on_gpu.outputs(&slices).expect("the GPU runs it");
    for (operation, found) in found.iter().enumerate() {
        for (image, found) in found.iter().enumerate() {
            let needed = &expected[image][operation];
            assert_eq!(
                found, needed,
                "{what}, operation {operation}, image {image}"
            );
        }
    }
    // As one batch, in a command buffer of its own, and more images than there is room for.
    let classes = usize::from(model.header().classes);
    let twice: Vec<&[u8]> = slices.iter().chain(&slices).copied().collect();
    let mut logits = vec![0; twice.len() * classes];
    on_gpu.run(&twice, &mut logits).expect("the GPU runs it");
    let needed = expected.iter().chain(&expected);
    for (row, outputs) in logits.chunks_exact(classes).zip(needed) {
        assert_eq!(Some(row), outputs.last().map(Vec::as_slice), "{what}");
    }
}

fn code(bits: u8) -> Element {
    Element::Code {
        bits,
        zero_point: 0,
    }
}

fn conv(kernel: u8, stride: u8, groups: u16, outputs_per_group: u16, bits: u8) -> ConvCase {
    ConvCase {
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 2],
        groups,
        outputs_per_group,
        weight_bits: bits,
        output: code(bits),
        tile: 4,
        spare: 0,
    }
}

/// Stem, residual blocks with all kinds of shortcuts, global pool and classifier, at every width.
#[test]
fn residual_networks_of_all_widths() {
    let Some(gpu) = gpu("residual_networks_of_all_widths") else {
        return;
    };
    for bits in 2..=8 {
        let mut network = Network::new(bits.into(), [16, 16, 3], Element::Value16);
        let mut block = network.conv(0, &conv(3, 1, 1, 16, bits), Shortcut::None);
        for (outputs, stride) in [(16, 1), (32, 2), (64, 2)] {
            let body = network.conv(block, &conv(3, stride, 1, outputs, bits), Shortcut::None);
            let shortcut = match stride {
                1 => Shortcut::Identity(block, 1, 0),
                _ => Shortcut::Projection(block, stride, bits),
            };
            block = network.conv(body, &conv(3, 1, 1, outputs, bits), shortcut);
        }
        // The shortcut without parameters: every second pixel, zeros around the channels.
        let body = network.conv(block, &conv(3, 2, 1, 72, bits), Shortcut::None);
        let skip = Shortcut::Identity(block, 2, 5);
        let last = network.conv(body, &conv(3, 1, 1, 72, bits), skip);
        network.sum_pool(last, [2, 2], [2, 2]);
        network.logits(10, bits);
        compare(gpu, &mut network, &format!("{bits} bits"));
    }
}

/// What is measured is a run like any other.
#[test]
fn the_gpu_times_its_work() {
    let Some(gpu) = gpu("the_gpu_times_its_work") else {
        return;
    };
    let mut network = Network::new(1, [16, 16, 3], Element::Value16);
    network.conv(0, &conv(3, 1, 1, 16, 8), Shortcut::None);
    network.logits(3, 8);
    let file = network.pack();
    let model = Model::new_checked(&file).expect("a sound model");
    let image = network.pixels();
    let on_gpu = GpuNetwork::new(gpu, &model, 8).expect("it fits the GPU");
    let time = on_gpu.time(&[image; 8]).expect("the GPU runs it");
    // The software driver has a clock.
    let time = time.map(|time| time.as_nanos());
    assert!(time.is_some_and(|nanoseconds| nanoseconds > 0), "{time:?}");
}

/// Depthwise and pointwise convolutions with sums that have zero points, at every width.
#[test]
fn depthwise_networks_of_all_widths() {
    let Some(gpu) = gpu("depthwise_networks_of_all_widths") else {
        return;
    };
    for bits in 2..=8 {
        let mut network = Network::new(bits.into(), [11, 9, 1], Element::Value16);
        let stem = network.conv(0, &conv(3, 2, 1, 20, bits), Shortcut::None);
        let depthwise = network.conv(stem, &conv(3, 1, 20, 1, bits), Shortcut::None);
        let signed = Element::Code {
            bits,
            zero_point: -5,
        };
        let narrow = ConvCase {
            output: signed,
            ..conv(1, 1, 1, 22, bits)
        };
        let left = network.conv(depthwise, &narrow, Shortcut::None);
        let wide = network.conv(left, &conv(1, 1, 1, 22, bits), Shortcut::None);
        let depthwise = network.conv(wide, &conv(3, 1, 22, 1, bits), Shortcut::None);
        let right = network.conv(depthwise, &narrow, Shortcut::None);
        let sum = network.add(left, right, signed, false);
        // Padding with the code of 0, which is not 0.
        let last = network.conv(sum, &conv(3, 2, 1, 24, bits), Shortcut::None);
        network.max_pool(last, [[3, 2], [1, 1], [1, 0]]);
        network.average_pool(network.last(), [2, 2], [1, 1], code(bits));
        network.logits(12, bits);
        compare(gpu, &mut network, &format!("{bits} bits"));
    }
}

/// Single convolutions of every kind: element types, zero points, groups, kernels, widths.
#[test]
fn random_convolutions() {
    let Some(gpu) = gpu("random_convolutions") else {
        return;
    };
    let mut random = Random(7);
    for seed in 0..60 {
        let mut draw = |low: i64, high: i64| random.between(low, high) as u8;
        let zero_point = [0, -3, 9, -300][usize::from(draw(0, 3))];
        let input = match draw(0, 3) {
            0 => Element::Value16,
            bits => Element::Code {
                bits: 2 * bits,
                zero_point,
            },
        };
        let channels = u16::from(draw(1, 24));
        let image = [u16::from(draw(1, 9)), u16::from(draw(1, 9)), channels];
        let groups = match draw(0, 3) {
            0 => channels,
            1 if channels.is_multiple_of(2) => 2,
            2 if channels.is_multiple_of(8) => channels / 4,
            _ => 1,
        };
        let case = ConvCase {
            stride: [draw(1, 3), draw(1, 3)],
            output: match draw(0, 2) {
                0 => Element::Value16,
                bits => Element::Code {
                    bits: 4 * bits,
                    zero_point: -i32::from(bits),
                },
            },
            ..conv(1 + 2 * draw(0, 2), 1, groups, draw(1, 9).into(), draw(2, 8))
        };
        let mut network = Network::new(seed, image, input);
        network.conv(0, &case, Shortcut::None);
        network.logits(3, draw(2, 8));
        compare(
            gpu,
            &mut network,
            &format!("seed {seed}, {image:?}, {input:?}, {case:?}"),
        );
    }
}

/// More taps than are unpacked at a time, on both kinds of convolution.
#[test]
fn convolutions_with_many_taps() {
    let Some(gpu) = gpu("convolutions_with_many_taps") else {
        return;
    };
    for element in [code(8), Element::Value16] {
        let mut network = Network::new(1, [3, 3, 130], element);
        network.conv(0, &conv(3, 1, 1, 6, 5), Shortcut::None);
        network.logits(3, 8);
        compare(gpu, &mut network, &format!("{element:?}"));
    }
}
