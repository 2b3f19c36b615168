//! Any bytes as a packed file: an error, or a model that all kernels and the batch engine run to
//! the same logits. Checksums are not compared in a fuzzer's build.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lowbit_runtime::batch::{BatchNetwork, Instructions, Workspace};
use lowbit_runtime::engine::Engine;
use lowbit_runtime::format::{Convolution, Kind, Model, Residual, TensorSpec};
use lowbit_runtime::kernels::Kernels;

/// Larger arenas are refused, as by a board.
const LARGEST_ARENA: u32 = 1 << 16;
/// Multiplications and elements of a model that is worth the time.
const MOST_WORK: u64 = 2_000_000;
/// Pixels that are neither black nor white.
const PIXEL: u8 = 0xc3;

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::new_checked(data) else {
        return;
    };
    if model.header().arena_bytes > LARGEST_ARENA || work(&model) > MOST_WORK {
        return;
    }
    let expected = logits(model, Kernels::Reference);
    assert_eq!(logits(model, Kernels::Tuned), expected);
    let pixels = vec![PIXEL; model.pixel_bytes()];
    for instructions in [Instructions::Portable, Instructions::best()] {
        let Ok(network) = BatchNetwork::with_instructions(model, instructions) else {
            return;
        };
        let mut found = vec![0; expected.len()];
        network.run(&[&pixels], &mut Workspace::default(), &mut found);
        assert_eq!(found, expected);
    }
});

fn logits(model: Model<'_>, kernels: Kernels) -> Vec<i32> {
    let mut words = vec![0x5555_5555_5555_5555u64; model.header().arena_bytes.div_ceil(8) as usize];
    let arena = bytemuck::cast_slice_mut(&mut words);
    let mut engine =
        Engine::with_kernels(model, arena, kernels).expect("the arena is large enough");
    engine.pixels_mut().fill(PIXEL);
    let logits = engine.run(&mut ()).expect("nothing ends the inference");
    logits.as_slice().to_vec()
}

fn work(model: &Model<'_>) -> u64 {
    let of_convolution = |convolution: &Convolution, output: &TensorSpec| {
        let taps = u64::from(convolution.input.channels)
            * u64::from(convolution.kernel_height)
            * u64::from(convolution.kernel_width);
        output.elements().saturating_mul(taps)
    };
    let works = model.operations().map(|operation| {
        let output = &operation.output;
        let work = match &operation.kind {
            Kind::Conv2d {
                convolution,
                residual,
                ..
            } => {
                let skipped = match residual {
                    Residual::Projection { convolution, .. } => of_convolution(convolution, output),
                    _ => 0,
                };
                of_convolution(convolution, output).saturating_add(skipped)
            }
            Kind::MaxPool { window, .. }
            | Kind::SumPool { window, .. }
            | Kind::AveragePool { window, .. } => {
                let [rows, columns] = window.map(u64::from);
                output.elements().saturating_mul(rows * columns)
            }
            Kind::Logits { input, .. } => input.elements().saturating_mul(output.elements()),
            Kind::InputTable { .. } | Kind::Add { .. } => 0,
        };
        work.saturating_add(output.elements())
    });
    works.fold(0, u64::saturating_add)
}
