//! ResNet-20 through lowering, packing and the integer engine on the host.

use std::path::Path;

use lowbit_host::data::{Dataset, Source};
use lowbit_host::integer::{IntegerNetwork, Processor};
use lowbit_host::{lower, pack};
use lowbit_tests::quantized_resnet20;

fn packed(path: &Path, bits: u8, golden: &[Vec<u8>]) -> Vec<u8> {
    let program = lower::lower(&quantized_resnet20(path, bits), &lower::Options::default());
    pack::pack(&program.expect("lowers"), golden).expect("packs")
}

fn cifar10(test: &str) -> Option<(std::path::PathBuf, Dataset)> {
    let weights = lowbit_tests::data(test, "cifar10_resnet20.safetensors")?;
    let images = lowbit_tests::data(test, "cifar10_test.bin")?;
    let dataset = Source::Cifar10(images).load().expect("loads");
    Some((weights, dataset))
}

#[test]
fn eight_bits_keep_the_accuracy() {
    let Some((weights, dataset)) = cifar10("eight_bits_keep_the_accuracy") else {
        return;
    };
    let packed = packed(&weights, 8, &[]);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let evaluation = network.evaluate(&dataset, Some(1000)).expect("runs");
    assert_eq!(evaluation.ranks.len(), 1000);
    // The float network reaches 91.7 % on all 10 000 images.
    assert!(evaluation.top1() > 90.0, "{} %", evaluation.top1());
    for image in [0, 999] {
        let logits = network.logits(dataset.image(image)).expect("runs");
        assert_eq!(logits, evaluation.logits[image * 10..][..10]);
    }
}

#[test]
fn four_bits_fit_and_carry_their_golden_results() {
    let Some((weights, dataset)) = cifar10("four_bits_fit_and_carry_their_golden_results") else {
        return;
    };
    let golden = [dataset.image(3).to_vec(), dataset.image(5).to_vec()];
    let packed = packed(&weights, 4, &golden);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let model = network.model();
    assert!(packed.len() <= 160 * 1024, "{} bytes", packed.len());
    assert!(
        model.header().arena_bytes <= 64 * 1024,
        "{} bytes",
        model.header().arena_bytes
    );
    for (image, pixels) in (0..).zip(&golden) {
        assert_eq!(model.golden_pixels(image), Some(pixels.as_slice()));
        let (logits, digests) = network.logits_and_digests(pixels).expect("runs");
        for (class, logit) in (0..).zip(logits) {
            assert_eq!(model.golden_logits(image, class), Some(logit));
        }
        for (operation, digest) in (0..).zip(digests) {
            assert_eq!(model.golden_digest(image, operation), Some(digest));
        }
    }
}

/// A number of images that leaves the last batch incomplete.
#[test]
fn vectors_and_portable_kernels_give_the_same_logits() {
    const IMAGES: usize = 101;
    let Some((weights, dataset)) = cifar10("vectors_and_portable_kernels_give_the_same_logits")
    else {
        return;
    };
    for bits in [4, 8] {
        let packed = packed(&weights, bits, &[]);
        let network = IntegerNetwork::new(&packed).expect("is a model");
        let [batches, engine] = [Processor::Cpu, Processor::Portable].map(|processor| {
            let evaluation = network.evaluate_with(&dataset, Some(IMAGES), &processor, |_| ());
            evaluation.expect("runs").logits
        });
        assert_eq!(batches.len(), IMAGES * 10);
        assert!(batches == engine, "w{bits}a{bits} differs");
    }
}

#[test]
fn the_first_difference_of_a_layer_is_found() {
    let Some((weights, dataset)) = cifar10("the_first_difference_of_a_layer_is_found") else {
        return;
    };
    let packed = packed(&weights, 4, &[]);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let layer = network
        .layer_output(dataset.image(0), 1)
        .expect("runs")
        .expect("exists");
    let mut device = layer.bytes.clone();
    assert_eq!(layer.difference(&device), None);
    let (width, channels) = (
        usize::from(layer.spec.width),
        usize::from(layer.spec.channels),
    );
    device[(2 * width + 7) * channels + 5] ^= 1;
    device[(3 * width + 1) * channels] ^= 1;
    let difference = layer.difference(&device).expect("differs");
    assert_eq!((difference.channel, difference.y, difference.x), (5, 2, 7));
    assert_eq!(difference.host ^ difference.device, 1);
    let behind = network.model().header().operations.into();
    let nothing = network.layer_output(dataset.image(0), behind);
    assert_eq!(nothing.expect("runs"), None);
}
