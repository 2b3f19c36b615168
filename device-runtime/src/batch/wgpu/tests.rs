//! The shaders against the portable arithmetic, exactly equal.

use std::env;
use std::io::{self, Write};
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use wgpu::naga;

use super::operators::{Operator, PACKED_PRODUCTS, PLAIN_PRODUCTS, REQUANTIZE, Shader};
use super::{Error, Gpu};
use crate::arithmetic::{Affine, clamp};

const FULL_RANGE: (i32, i32) = (i32::MIN, i32::MAX);

/// The GPU that all tests share. Where there is none, `test` is reported as skipped, or fails if
/// `CI` is set.
fn gpu(test: &str) -> Option<&'static Gpu> {
    static GPU: OnceLock<Result<Gpu, Error>> = OnceLock::new();
    match GPU.get_or_init(Gpu::new) {
        Ok(gpu) => Some(gpu),
        Err(error @ (Error::NoInterface | Error::NoAdapter(_))) if env::var_os("CI").is_none() => {
            report_skipped(test, error);
            None
        }
        Err(error) => panic!("{test}: {error}: {error:?}"),
    }
}

/// Not with `eprintln`, whose output the test harness hides for tests that pass.
fn report_skipped(test: &str, error: &Error) {
    writeln!(io::stderr(), "skipped: {test}: {error}").unwrap();
}

/// A sum and the parameters it is requantized with.
#[derive(Debug, Clone, Copy)]
struct Problem {
    sum: i32,
    affine: Affine,
}

impl Problem {
    fn new(sum: i32, multiplier: i32, bias: i64, shift: u8) -> Self {
        let affine = Affine {
            multiplier,
            bias,
            shift,
        };
        Self { sum, affine }
    }

    fn reference(&self, (low, high): (i32, i32)) -> i32 {
        clamp(self.affine.apply(self.sum, 0), low, high)
    }
}

/// Runs all problems at once, each as a channel of its own.
fn assert_equal(gpu: &Gpu, problems: &[Problem], range: (i32, i32)) {
    let sums: Vec<_> = problems.iter().map(|problem| problem.sum).collect();
    let channels: Vec<_> = problems.iter().map(|problem| problem.affine).collect();
    let values = gpu.requantize(&sums, &channels, range.0, range.1).unwrap();
    assert_eq!(values.len(), problems.len());
    for (problem, value) in problems.iter().zip(values) {
        assert_eq!(value, problem.reference(range), "{problem:?} in {range:?}");
    }
}

/// Numbers of all sizes, not only of the largest.
fn any_size() -> impl Strategy<Value = Problem> {
    let multiplier = (-(1i32 << 30)..=1 << 30, 0..31);
    let bias = (-(1i64 << 61) + 1..1 << 61, 0..62);
    let sum = (any::<i32>(), 0..32);
    (sum, multiplier, bias, 1u8..=62).prop_map(|(sum, multiplier, bias, shift)| {
        let multiplier = multiplier.0 >> multiplier.1;
        Problem::new(sum.0 >> sum.1, multiplier, bias.0 >> bias.1, shift)
    })
}

/// What can be said about a shader without a GPU: it parses, its types fit, and it has an entry point
/// `name`.
fn assert_valid(shader: &Shader) {
    let (name, source) = (shader.name, &shader.source());
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(source, name)));
    let mut validator = naga::valid::Validator::new(
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::empty(),
    );
    if let Err(error) = validator.validate(&module) {
        panic!("{}", error.emit_to_string_with_path(source, name));
    }
    assert!(module.entry_points.iter().any(|entry| entry.name == name));
}

#[test]
fn shaders_are_valid() {
    for shader in [REQUANTIZE, PACKED_PRODUCTS, PLAIN_PRODUCTS] {
        assert_valid(&shader);
    }
    for operator in Operator::ALL {
        assert_valid(&operator.shader());
    }
}

#[test]
fn requantize_equals_arithmetic_at_the_edges() {
    let Some(gpu) = gpu("requantize_equals_arithmetic_at_the_edges") else {
        return;
    };
    let half = 1 << 16;
    let sums = [
        i32::MIN,
        i32::MIN + 1,
        -half - 1,
        -half,
        1 - half,
        -1,
        0,
        1,
        half - 1,
        half,
        i32::MAX,
    ];
    let multipliers = [-1 << 30, 1 - (1 << 30), -half, -1, 0, 1, half, 1 << 30];
    let end = (1i64 << 61) - 1;
    let word = 1i64 << 32;
    let mut problems = Vec::new();
    for shift in [1, 2, 30, 31, 32, 33, 34, 61, 62] {
        let rounding = 1i64 << (shift - 1);
        let biases = [
            -end,
            -word - 1,
            -word,
            -1,
            0,
            1,
            word - 1,
            word,
            rounding.min(end),
            end,
        ];
        for sum in sums {
            for multiplier in multipliers {
                let problem = |&bias: &i64| Problem::new(sum, multiplier, bias, shift);
                problems.extend(biases.iter().map(problem));
            }
        }
    }
    for range in [FULL_RANGE, (0, 255), (-8, 7), (5, 5), (i32::MIN, -1)] {
        assert_equal(gpu, &problems, range);
    }
}

#[test]
fn requantize_rounds_halves_up() {
    let Some(gpu) = gpu("requantize_rounds_halves_up") else {
        return;
    };
    for shift in [1, 2, 16, 31, 32, 33, 59] {
        // The sum is counted in halves of the result's unit, or in what is just below or above.
        let half = 1i64 << (shift - 1);
        let unit = half.min(1 << 30);
        let halves = [-3i64, -2, -1, 0, 1, 2, 3];
        let problem = |(halves, off): (i64, i64)| {
            let rest = half * halves - unit * halves + half + off;
            Problem::new(halves as i32, unit as i32, rest, shift)
        };
        let around = halves
            .into_iter()
            .flat_map(|halves| [-1, 0, 1].map(|off| (halves, off)));
        let problems: Vec<_> = around.map(problem).collect();
        let exact: Vec<_> = halves
            .map(|halves| (halves + 1).div_euclid(2) as i32)
            .into();
        let on_halves = problems.iter().skip(1).step_by(3);
        let expected: Vec<_> = on_halves.map(|one| one.reference(FULL_RANGE)).collect();
        assert_eq!(expected, exact);
        assert_equal(gpu, &problems, FULL_RANGE);
    }
}

#[test]
fn requantize_equals_arithmetic_at_random() {
    let Some(gpu) = gpu("requantize_equals_arithmetic_at_random") else {
        return;
    };
    let mut runner = TestRunner::deterministic();
    let mut draw = || any_size().new_tree(&mut runner).unwrap().current();
    let problems: Vec<_> = (0..100_000).map(|_| draw()).collect();
    for range in [FULL_RANGE, (-128, 127)] {
        assert_equal(gpu, &problems, range);
    }
}

#[test]
fn requantize_takes_channels_last_and_more_elements_than_invocations() {
    let Some(gpu) = gpu("requantize_takes_channels_last_and_more_elements_than_invocations") else {
        return;
    };
    let channels = [(1, 0, 1), (-3, 5, 2), (1 << 30, -(1 << 40), 31)].map(|(m, b, s)| Affine {
        multiplier: m,
        bias: b,
        shift: s,
    });
    let invocations = 65_535 * super::operators::WORKGROUP_SIZE as i32;
    let sums: Vec<_> = (0..(invocations + 300) / 3 * 3).collect();
    let values = gpu.requantize(&sums, &channels, -1000, 1 << 20).unwrap();
    assert_eq!(values.len(), sums.len());
    for ((value, sum), affine) in values.iter().zip(sums).zip(channels.iter().cycle()) {
        assert_eq!(*value, clamp(affine.apply(sum, 0), -1000, 1 << 20), "{sum}");
    }
}

#[test]
fn requantize_refuses_what_it_cannot_compute() {
    let Some(gpu) = gpu("requantize_refuses_what_it_cannot_compute") else {
        return;
    };
    let good = Problem::new(0, 1, 0, 1).affine;
    let shape = gpu.requantize(&[1, 2, 3], &[good, good], 0, 1);
    assert!(matches!(
        shape,
        Err(Error::Shape {
            elements: 3,
            channels: 2
        })
    ));
    let none = gpu.requantize(&[1], &[], 0, 1);
    assert!(matches!(none, Err(Error::Shape { channels: 0, .. })));
    assert_eq!(gpu.requantize(&[], &[good], 0, 1).unwrap(), []);
    for wrong in [
        Problem::new(0, (1 << 30) + 1, 0, 1),
        Problem::new(0, i32::MIN, 0, 1),
        Problem::new(0, 1, 1 << 61, 1),
        Problem::new(0, 1, i64::MIN, 1),
        Problem::new(0, 1, 0, 0),
        Problem::new(0, 1, 0, 63),
    ] {
        let refused = gpu.requantize(&[1, 2], &[good, wrong.affine], 0, 1);
        assert!(
            matches!(refused, Err(Error::Channel { channel: 1, .. })),
            "{wrong:?}"
        );
    }
    let too_many = gpu.check_size("sums", gpu.largest_buffer() + 1);
    assert!(matches!(
        too_many,
        Err(Error::TooLarge { what: "sums", .. })
    ));
}

#[test]
fn peaks_are_measured() {
    let Some(gpu) = gpu("peaks_are_measured") else {
        return;
    };
    let peak = gpu.peak().unwrap();
    // From the slowest software driver to the fastest GPU.
    for products in [peak.packed, peak.plain] {
        assert!((1e6..1e18).contains(&products), "{peak:?}");
    }
}

/// On a GPU of its own: those of other tests go on.
#[test]
fn a_lost_gpu_is_an_error() {
    if gpu("a_lost_gpu_is_an_error").is_none() {
        return;
    }
    let gpu = Gpu::new().unwrap();
    let affine = Problem::new(0, 1, 0, 1).affine;
    assert_eq!(gpu.requantize(&[4], &[affine], 0, 9).unwrap(), [2]);
    gpu.device.destroy();
    let lost = gpu.requantize(&[4], &[affine], 0, 9);
    assert!(
        matches!(lost, Err(Error::Lost | Error::Command(_))),
        "{lost:?}"
    );
    assert!(gpu.peak().is_err());
}
