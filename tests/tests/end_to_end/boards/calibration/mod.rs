//! Boards that calibrate themselves, under QEMU: the same records as here, acceptance, rollback, and
//! power failures while records change.

mod command;
#[cfg(unix)]
mod power;
mod records;
mod sensor;

use std::path::Path;

use lowbit_host::board::{CalibrationOrder, Client, Inputs, Options, Verdict, verify};
use lowbit_host::calibration::{Judging, Settings, accept, calibrate, record};
use lowbit_host::data::Dataset;
use lowbit_host::integer::{Calibrated, IntegerNetwork};
use lowbit_host::{lower, pack};
use lowbit_runtime::calibration::Guards;
use lowbit_tests::{NetworkBuilder, Shape, noise, quantized_resnet20};

/// The trained network at 6 bits, with statistics of the fast plan's layers.
fn resnet20(weights: &Path) -> Vec<u8> {
    let options = lower::Options {
        calibration: true,
        ..lower::Options::default()
    };
    let program = lower::lower(&quantized_resnet20(weights, 6), &options);
    let mut program = program.expect("lowers");
    program.keep_fast_layers();
    pack::pack(&program, &[]).expect("packs")
}

/// A network of four layers for images of 16 x 16 x 3 pixels, in less than 8 KiB of arena.
fn small_network() -> Vec<u8> {
    let mut builder = NetworkBuilder::new("small", [3, 16, 16]);
    let strided = |read, written, kernel| Shape {
        stride: 2,
        ..Shape::dense(read, written, kernel)
    };
    let depthwise = Shape {
        groups: 8,
        ..Shape::dense(8, 8, 3)
    };
    let shapes = [
        strided(3, 8, 5),
        depthwise,
        Shape::dense(8, 16, 1),
        strided(16, 16, 3),
    ];
    let mut last = builder.input();
    for (index, shape) in shapes.iter().enumerate() {
        last = builder.normalized_conv(&format!("conv{index}"), shape, [4, 4], last);
    }
    let options = lower::Options {
        tile_rows: 1,
        calibration: true,
        ..lower::Options::default()
    };
    let program = lower::lower(&builder.classify(16, 10, last), &options);
    let mut program = program.expect("lowers");
    program.choose_fast_layers();
    let golden = noise([16, 16, 3], 2);
    let golden: Vec<_> = golden.images().iter().map(|image| image.to_vec()).collect();
    pack::pack(&program, &golden).expect("packs")
}

fn order<'a>(
    network: &IntegerNetwork<'a>,
    seen: &'a Dataset,
    unseen: &'a Dataset,
    settings: Settings,
) -> CalibrationOrder<'a> {
    CalibrationOrder {
        settings,
        inputs: Inputs::Sent { seen, unseen },
        labels: false,
        force: false,
        commit: true,
        check: Some(*network),
    }
}

/// The record that this computer makes of the same images by itself, if it is accepted.
fn record_made_here(
    network: &IntegerNetwork<'_>,
    order: &CalibrationOrder<'_>,
    generation: u32,
) -> Option<Vec<u8>> {
    let factory = Calibrated::new(network);
    let mut calibrated = Calibrated::new(network);
    let Inputs::Sent { seen, unseen } = order.inputs else {
        panic!("{:?}", order.inputs);
    };
    let pixels = seen.images();
    let found = calibrate(network, &mut calibrated, &pixels, order.settings).expect("calibrates");
    let judging = Judging {
        seen: &pixels,
        unseen,
        labels: order.labels,
        guards: Guards {
            force_diversity: order.force,
            ..Guards::default()
        },
    };
    let verdict = accept(network, &factory, &calibrated, &found, &judging).expect("runs");
    let metric = verdict.result.ok()?;
    let images = pixels.len() as u32;
    Some(record(
        network.model(),
        &found,
        images,
        order.settings,
        metric,
        generation,
    ))
}

fn verified(client: &mut Client, model: &[u8], images: &Dataset) -> Verdict {
    let options = Options { layers: true };
    let verdict = verify(client, model, images, options, &mut |_| {}).expect("runs");
    assert!(verdict.is_equal(), "{verdict:?}");
    verdict
}
