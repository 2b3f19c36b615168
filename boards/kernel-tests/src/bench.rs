//! Instructions of single layers.

use cortex_m::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;
use lowbit_runtime::kernels::Kernels;
use semihosting::println;

use crate::problem::{Memory, Problem, Shortcut};

/// With `-icount shift=0` an instruction takes 1 ns; SysTick runs at 25 MHz.
const INSTRUCTIONS_PER_TICK: u32 = 40;

const fn layer(size: [u16; 2], channels: [u16; 2], kernel: u8, stride: u8) -> Problem {
    Problem {
        height: size[0],
        width: size[1],
        channels: channels[0],
        outputs: channels[1],
        kernel,
        stride,
        padding: kernel / 2,
        groups: 1,
        weight_bits: 4,
        activation_bits: Some(4),
        zero_point: 0,
        output_bits: 4,
        output_zero_point: 0,
        usual_shifts: true,
        shortcut: Shortcut::None,
        rows: 8,
        seed: 1,
    }
}

const fn widths(problem: Problem, weights: u8, activations: u8) -> Problem {
    Problem {
        weight_bits: weights,
        activation_bits: Some(activations),
        output_bits: activations,
        ..problem
    }
}

const fn depthwise(problem: Problem) -> Problem {
    Problem {
        groups: problem.channels,
        ..problem
    }
}

const LAYERS: [(&str, Problem); 9] = [
    ("conv 3x3 16>16 32x32", layer([32, 32], [16, 16], 3, 1)),
    ("conv 3x3 16>32 s2", layer([32, 32], [16, 32], 3, 2)),
    ("conv 3x3 32>32 16x16", layer([16, 16], [32, 32], 3, 1)),
    ("conv 3x3 64>64 8x8", layer([8, 8], [64, 64], 3, 1)),
    ("pointwise 64>64 25x5", layer([25, 5], [64, 64], 1, 1)),
    ("pointwise 128>128 6x6", layer([6, 6], [128, 128], 1, 1)),
    ("pointwise 8>16 48x48", layer([48, 48], [8, 16], 1, 1)),
    (
        "depthwise 3x3 64 25x5",
        depthwise(layer([25, 5], [64, 64], 3, 1)),
    ),
    (
        "depthwise 3x3 8 48x48",
        depthwise(layer([48, 48], [8, 8], 3, 1)),
    ),
];

pub(crate) fn run(memory: &mut Memory, output: &mut [u8]) {
    let mut timer = Peripherals::take().expect("once").SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(0x00ff_ffff);
    timer.clear_current();
    timer.enable_counter();
    let mut measure = |name: &str, problem: Problem| {
        problem.prepare(memory);
        let output = &mut output[..problem.output_bytes()];
        output.fill(0);
        let start = cortex_m::peripheral::SYST::get_current();
        problem.run(Kernels::Tuned, memory, output);
        let end = cortex_m::peripheral::SYST::get_current();
        let instructions = (start.wrapping_sub(end) & 0x00ff_ffff) * INSTRUCTIONS_PER_TICK;
        let thousandths = u64::from(instructions) * 1000 / problem.products();
        println!(
            "{name:24} {instructions:9}  {}.{:03}",
            thousandths / 1000,
            thousandths % 1000
        );
    };
    let input = Problem {
        activation_bits: None,
        ..widths(layer([32, 32], [3, 16], 3, 1), 4, 4)
    };
    measure(
        "conv 3x3 3>16 32x32 w4",
        Problem {
            activation_bits: None,
            ..input
        },
    );
    for (weights, activations) in [(4, 4), (2, 2), (3, 3), (5, 5), (8, 8), (4, 8), (2, 8)] {
        println!("w{weights}a{activations}");
        for (name, problem) in LAYERS {
            measure(name, widths(problem, weights, activations));
        }
    }
    for (name, shortcut) in [
        ("32>32 in place", Shortcut::InPlace),
        (
            "32>32 identity",
            Shortcut::Identity {
                stride: 1,
                channel_offset: 0,
            },
        ),
        ("32>32 projection", Shortcut::Projection { weight_bits: 4 }),
    ] {
        let problem = Problem {
            shortcut,
            ..layer([16, 16], [32, 32], 3, 1)
        };
        measure(name, problem);
    }
}
