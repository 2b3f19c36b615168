//! Proof at link time that checking and running a model and hearing a sound cannot panic: the panic
//! handler calls a function that does not exist, so the program links only if the optimiser has
//! removed every panic. It is not meant to be run.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "an entry point and a function that does not exist"
)]

use core::ops::ControlFlow;
use core::panic::PanicInfo;

use lowbit_runtime::calibration::{
    Corrections, Moments, Passes, Plan, Record, Weights, finish_pass,
};
use lowbit_runtime::engine::{Engine, Observer, TensorView};
use lowbit_runtime::format::{Model, Operation, file_length};
use lowbit_runtime::mfcc::{FEATURES, Quantization, Scratch, features};

unsafe extern "C" {
    fn a_panic_is_reachable() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: no program that contains this call can be linked.
    unsafe { a_panic_is_reachable() }
}

/// Uses all that an observer can get at.
struct Everything(u32);

impl Observer for Everything {
    fn observe(
        &mut self,
        index: usize,
        operation: &Operation<'_>,
        output: &TensorView<'_>,
    ) -> ControlFlow<()> {
        let mut chunk = [0; 128];
        self.0 ^= output.read_canonical(index * chunk.len(), &mut chunk) as u32;
        self.0 ^= output.digest() ^ operation.name.len() as u32;
        match output.value(0, index as u16, 0) {
            Some(value) if value < 0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Every entry point of format, engine and features, with arguments that the optimiser knows nothing about.
///
/// # Safety
/// `file`, `arena` and `samples` are valid for as many bytes or samples as the numbers behind them
/// say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check_and_run(
    file: *const u8,
    file_bytes: usize,
    arena: *mut u8,
    arena_bytes: usize,
    samples: *const i16,
    sample_count: usize,
) -> u32 {
    // SAFETY: the caller vouches for all of them.
    let (file, arena, samples) = unsafe {
        (
            core::slice::from_raw_parts(file, file_bytes),
            core::slice::from_raw_parts_mut(arena, arena_bytes),
            core::slice::from_raw_parts(samples, sample_count),
        )
    };
    infer(file, arena)
        .or_else(|| calibrate(file, arena))
        .or_else(|| hear(file, samples))
        .unwrap_or_default()
}

/// The features of a sound, with a quantization that happens to lie in the file.
fn hear(file: &[u8], samples: &[i16]) -> Option<u32> {
    let [first, second, third, fourth, zero_point] = *file.first_chunk()?;
    let scale = u32::from_le_bytes([first, second, third, fourth]);
    let quantization = Quantization::new(scale, zero_point as i8)?;
    let mut bytes = [0; FEATURES];
    features(samples, quantization, &mut Scratch::new(), &mut bytes);
    Some(bytes.iter().map(|&byte| u32::from(byte)).sum())
}

/// A calibration with a record that happens to lie in the file.
fn calibrate(file: &[u8], arena: &mut [u8]) -> Option<u32> {
    let model = Model::new_checked(file).ok()?;
    let plan = Plan::of(&model)?;
    let record = Record::new_checked(file, model.identity(), plan.checksum()).ok()?;
    let corrections = Corrections::new_checked(&plan, record.payload()).ok()?;
    let mut clamped = 0;
    for layer in plan.passes(Passes::Fast) {
        let mut moments = [Moments::default(); 64];
        let engine = Engine::new(model, arena).ok()?;
        let mut engine = engine.with_corrections(corrections);
        engine.collect(&layer, &mut moments);
        engine.run(&mut ())?;
        let weights = Weights {
            positions: layer.positions(&model),
            images: layer.most_images(&model),
            prior: record.header().prior,
        };
        clamped += finish_pass(&model, &layer, &weights, arena)?;
    }
    Some(clamped)
}

fn infer(file: &[u8], arena: &mut [u8]) -> Option<u32> {
    let length = file_length(file).ok()?;
    let model = Model::new_checked(file.get(..length)?).ok()?;
    let golden = model.golden_digest(0, 1)? ^ model.golden_logits(0, 1)?.unsigned_abs();
    let mut engine = Engine::new(model, arena).ok()?;
    let pixels = engine.pixels_mut().iter_mut();
    for (to, from) in pixels.zip(model.golden_pixels(0)?) {
        *to = *from;
    }
    let mut everything = Everything(golden);
    let logits = engine.run(&mut everything)?;
    Some(everything.0 ^ u32::from(logits.top1()) ^ logits.get(3)?.unsigned_abs())
}
