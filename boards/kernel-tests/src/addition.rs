//! A sum of two tensors with random operands.

use lowbit_runtime::arithmetic::Affine;
use lowbit_runtime::kernels::add::{self, Add, Operand};
use lowbit_runtime::kernels::{Elements, ElementsMut, Kernels};

use crate::problem::Memory;
use crate::random::Random;

/// Most elements.
const ELEMENTS: i32 = 3000;

/// Where an operand lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    InOutput,
    Apart,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Addition {
    count: usize,
    bits: [u8; 2],
    zero_points: [i32; 2],
    places: [Place; 2],
    multipliers: [i32; 2],
    bias: i64,
    shift: u8,
    output_bits: u8,
    output_zero_point: i32,
    relu: bool,
    seed: u64,
}

impl Addition {
    pub(crate) fn random(random: &mut Random) -> Self {
        let mut width = || match random.between(0, 3) {
            0 => 8,
            1 => 4,
            _ => random.between(1, 8) as u8,
        };
        let (bits, output_bits) = ([width(), width()], width());
        let places = match random.between(0, 3) {
            0 => [Place::InOutput, Place::Apart],
            1 => [Place::Apart, Place::InOutput],
            2 if random.once_in(4) => [Place::InOutput; 2],
            _ => [Place::Apart; 2],
        };
        let mut zero_point = |often: bool| match often {
            true => 0,
            false => random.between(-200, 20),
        };
        let mut zero_points = [zero_point(false), zero_point(true)];
        let output_zero_point = zero_point(bits[0] < 8);
        for (zero_point, place) in zero_points.iter_mut().zip(places) {
            if place == Place::InOutput {
                *zero_point = output_zero_point;
            }
        }
        let shift = random.between(20, 36) as u8;
        let size = 1i32 << (shift + 1).min(30);
        let mut multiplier = || random.between(-(size / 4), size);
        let multipliers = [multiplier(), multiplier()];
        Self {
            count: random.between(1, ELEMENTS) as usize,
            bits,
            zero_points,
            places,
            multipliers,
            bias: (i64::from(random.between(-30, 30)) << shift) + (1 << (shift - 1)),
            shift,
            output_bits,
            output_zero_point,
            relu: !random.once_in(3),
            seed: random.next(),
        }
    }

    /// Whether both kernels give the same codes.
    pub(crate) fn agrees(&self, memory: &mut Memory) -> bool {
        let mut random = Random(self.seed);
        let Memory {
            input,
            skipped,
            outputs,
            ..
        } = memory;
        let mut fill = |codes: &mut [u8], bits: u8| {
            let mask = ((1u16 << bits) - 1) as u8;
            codes
                .iter_mut()
                .take(self.count)
                .for_each(|code| *code = random.next() as u8 & mask);
        };
        fill(input, self.bits[0]);
        fill(skipped, self.bits[1]);
        let sources: [&[u8]; 2] = [&input[..self.count], &skipped[..self.count]];
        for (kernels, output) in [Kernels::Reference, Kernels::Tuned]
            .into_iter()
            .zip(outputs.iter_mut())
        {
            let output = &mut output[..self.count];
            for (source, place) in sources.into_iter().zip(self.places) {
                if place == Place::InOutput {
                    output.copy_from_slice(source);
                }
            }
            self.run(kernels, sources, output);
        }
        let [reference, tuned] = outputs;
        reference[..self.count] == tuned[..self.count]
    }

    fn run(&self, kernels: Kernels, sources: [&[u8]; 2], output: &mut [u8]) {
        let operand = |index: usize| Operand {
            elements: (self.places[index] == Place::Apart).then(|| Elements::Code8 {
                codes: sources[index],
                zero_point: self.zero_points[index],
            }),
            bits: Some(self.bits[index]),
        };
        let lowest = if self.relu {
            self.output_zero_point.max(0)
        } else {
            self.output_zero_point
        };
        let high = self.output_zero_point + (1 << self.output_bits) - 1;
        let add = Add {
            affine: Affine {
                multiplier: self.multipliers[0],
                bias: self.bias,
                shift: self.shift,
            },
            right_multiplier: self.multipliers[1],
            low: lowest.min(high),
            high,
        };
        let mut output = ElementsMut::Code8 {
            codes: output,
            zero_point: self.output_zero_point,
        };
        add::run(
            kernels,
            &add,
            &operand(0),
            &operand(1),
            self.count,
            &mut output,
        );
    }
}
