//! The features of sounds, and what they cost.

use lowbit_board_common::arch::Instructions;
use lowbit_runtime::mfcc::{FEATURES, Quantization, SAMPLES, Scratch, features};
use semihosting::fs::File;
use semihosting::io::Read;
use semihosting::println;

/// Prints instructions and features of every second of sound in the file `sounds.pcm` of the
/// emulator's working directory (`i16`, little-endian).
pub(crate) fn print_features(memory: &mut [u8]) -> Result<(), &'static str> {
    let sound = memory.get_mut(..2 * SAMPLES);
    let sound = sound.ok_or("the memory for sounds is too small")?;
    let mut file = File::open(c"sounds.pcm").map_err(|_| "there is no `sounds.pcm`")?;
    let mut instructions = counter();
    let mut scratch = Scratch::new();
    while file.read_exact(sound).is_ok() {
        let samples = bytemuck::try_cast_slice(sound);
        let samples = samples.map_err(|_| "the memory for sounds is not aligned")?;
        let mut bytes = [0; FEATURES];
        instructions.begin();
        let since = instructions.count();
        features(samples, Quantization::KEYWORDS, &mut scratch, &mut bytes);
        let count = instructions.count() - since;
        println!("features {count} {bytes:?}");
    }
    Ok(())
}

#[cfg(target_arch = "arm")]
#[expect(unsafe_code, reason = "the core's timer")]
fn counter() -> Instructions {
    let instructions = env!("INSTRUCTIONS_PER_TWO_TICKS").parse().unwrap_or(1);
    // SAFETY: nothing else uses the core's timer.
    unsafe { Instructions::new(instructions) }
}

#[cfg(target_arch = "riscv32")]
fn counter() -> Instructions {
    Instructions
}
