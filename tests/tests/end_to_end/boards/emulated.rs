//! Every emulated board computes what the host computes, and its counts repeat.

use lowbit_host::board::{Client, Options, TickUnit, bench, verify};
use lowbit_host::data::{Dataset, Source};
use lowbit_host::{lower, pack};
use lowbit_tests::{
    Emulator, NetworkBuilder, Shape, noise_images, quantized_resnet20, random_network,
};

const BOARDS: [&str; 7] = [
    "b-l475e-iot01a",
    "lm3s6965evb",
    "microbit",
    "mps2-an386",
    "mps2-an500",
    "mps2-an505",
    "rv32-virt",
];
/// The only one whose memory is too small for a ResNet.
const SMALLEST: &str = "microbit";

/// Calls `test` with every board that can be emulated here.
fn on_every_board(name: &str, test: impl Fn(&Emulator)) {
    for board in BOARDS {
        if let Some(emulator) = Emulator::new(&format!("{name} ({board})"), board) {
            test(&emulator);
        }
    }
}

/// A convolution with stride, a depthwise and a pointwise one for images of 16 x 16 x 3 pixels, in
/// 8 KiB of arena.
fn small_network(bits: [u8; 2]) -> Vec<u8> {
    let mut builder = NetworkBuilder::new("small", [3, 16, 16]);
    let stem = Shape {
        stride: 2,
        ..Shape::dense(3, 8, 5)
    };
    let stem = builder.conv("stem", &stem, bits, builder.input());
    let depthwise = Shape {
        groups: 8,
        ..Shape::dense(8, 8, 3)
    };
    let deep = builder.conv("depthwise", &depthwise, bits, stem);
    let wide = builder.conv("pointwise", &Shape::dense(8, 16, 1), bits, deep);
    let last = Shape {
        stride: 2,
        ..Shape::dense(16, 16, 3)
    };
    let last = builder.conv("last", &last, bits, wide);
    let network = builder.classify(16, 10, last);
    let options = lower::Options {
        tile_rows: 1,
        ..lower::Options::default()
    };
    let program = lower::lower(&network, &options).expect("lowers");
    pack::pack(&program, &[]).expect("packs")
}

/// Every second row and column.
fn halved(images: &Dataset) -> Dataset {
    let [height, width, channels] = images.shape;
    let pixel = |image, y, x| {
        let place = (y * width + x) * channels;
        &images.image(image)[place..][..channels]
    };
    let mut pixels = Vec::new();
    for image in 0..images.len() {
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                pixels.extend_from_slice(pixel(image, y, x));
            }
        }
    }
    Dataset {
        shape: [height / 2, width / 2, channels],
        pixels,
        ..images.clone()
    }
}

fn assert_equal(client: &mut Client, model: &[u8], images: &Dataset) {
    client.flash(model, &mut |_| {}).expect("is taken");
    let options = Options { layers: true };
    let verdict = verify(client, model, images, options, &mut |_| {}).expect("runs");
    assert!(verdict.is_equal(), "{verdict:?}");
}

#[test]
fn a_board_is_what_its_description_says() {
    on_every_board("a_board_is_what_its_description_says", |emulator| {
        let client = emulator.connect();
        let (greeting, board) = (client.greeting(), &emulator.board);
        assert_eq!(
            (&greeting.board, &greeting.core),
            (&board.name, &board.core)
        );
        assert_eq!(greeting.arena_bytes, board.memory.arena.bytes);
        assert_eq!(greeting.slots, board.limits.slots);
        assert_eq!(
            greeting.stack_bytes,
            board.memory.stack.expect("is one").bytes
        );
        assert_eq!(greeting.tick, TickUnit::Instructions);
        assert_eq!(greeting.runtime, lowbit_runtime::VERSION);
        assert_eq!(greeting.model, None);
    });
}

#[test]
fn a_network_for_every_board_gives_the_same_integers_in_every_layer() {
    let name = "a_network_for_every_board_gives_the_same_integers_in_every_layer";
    let images = halved(&noise_images(2));
    on_every_board(name, |emulator| {
        let mut client = emulator.connect();
        for bits in [[4, 4], [8, 8], [2, 3]] {
            assert_equal(&mut client, &small_network(bits), &images);
        }
    });
}

#[test]
fn counts_repeat_exactly_and_layers_add_up() {
    let model = small_network([4, 4]);
    let images = halved(&noise_images(1));
    on_every_board("counts_repeat_exactly_and_layers_add_up", |emulator| {
        let measure = || {
            let mut client = emulator.connect();
            client.flash(&model, &mut |_| {}).expect("is taken");
            let mut measure = || bench(&mut client, &model, images.image(0)).expect("runs");
            [measure(), measure()]
        };
        let [first, second] = measure();
        assert_eq!(first, second);
        assert_eq!(first.instructions, measure()[0].instructions);
        let layers = first.layers.iter().filter_map(|layer| layer.instructions);
        let (sum, whole) = (layers.sum::<u64>(), first.instructions.unwrap_or(0));
        assert!(sum <= whole && whole - sum < 1000, "{sum} of {whole}");
        let header = lowbit_runtime::format::Model::new_checked(&model).expect("is a model");
        assert_eq!(first.arena_bytes, header.header().arena_bytes);
        let reserved = emulator.board.memory.stack.expect("is one").bytes;
        let used = first.stack_bytes.expect("is painted");
        assert!(
            used > 500 && used < reserved,
            "{used} of {reserved} bytes of stack"
        );
    });
}

#[test]
fn a_trained_network_agrees_on_every_board_that_it_fits() {
    let name = "a_trained_network_agrees_on_every_board_that_it_fits";
    let Some(weights) = lowbit_tests::data(name, "cifar10_resnet20.safetensors") else {
        return;
    };
    let Some(images) = lowbit_tests::data(name, "cifar10_test.bin") else {
        return;
    };
    let images = Source::Cifar10(images).load().expect("loads").take(2);
    let network = quantized_resnet20(&weights, 4);
    let program = lower::lower(&network, &lower::Options::default()).expect("lowers");
    let resnet20 = pack::pack(&program, &[]).expect("packs");
    on_every_board(name, |emulator| {
        let mut client = emulator.connect();
        if emulator.board.name == SMALLEST {
            assert_equal(&mut client, &small_network([4, 4]), &halved(&images));
        } else {
            assert_equal(&mut client, &resnet20, &images);
        }
    });
}

#[test]
fn a_model_for_a_larger_arena_is_refused_with_the_reason() {
    let name = "a_model_for_a_larger_arena_is_refused_with_the_reason";
    let Some(emulator) = Emulator::new(name, SMALLEST) else {
        return;
    };
    let mut client = emulator.connect();
    let refused = client.flash(&random_network("resnet8", 2), &mut |_| {});
    let shown = refused.expect_err("does not fit").to_string();
    assert!(
        shown.starts_with("the model needs an arena of") && shown.contains("`microbit` has 8192"),
        "{shown}"
    );
    assert_eq!(client.greeting().model, None);
}
