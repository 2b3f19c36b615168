//! Geometry and weights.

use super::parts::{Arena, Section, bounded, largest_code, range};
use super::source::magnitude;
use crate::format::{Convolution, Fault, Layout, Model, Storage, TensorSpec, Weights};

/// Sums of products stay below this.
const ACCUMULATOR_LIMIT: u64 = 1 << 31;

/// What a convolution's members are called in a fault.
pub(super) struct Names {
    pub(super) input: &'static str,
    kernel: &'static str,
    stride: &'static str,
    padding: &'static str,
    size: &'static str,
    groups: &'static str,
    accumulator: &'static str,
    weights: WeightNames,
}

/// What the members of weights are called in a fault.
pub(super) struct WeightNames {
    bits: &'static str,
    codes: &'static str,
    zero_points: &'static str,
}

/// The weights of a layer that has only one set of them.
pub(super) const WEIGHTS: WeightNames = WeightNames {
    bits: "weights.bits",
    codes: "weights.codes",
    zero_points: "weights.zero_points",
};

/// The convolution itself.
pub(super) const MAIN: Names = Names {
    input: "input",
    kernel: "kernel",
    stride: "stride",
    padding: "padding",
    size: "output size",
    groups: "groups",
    accumulator: "accumulator",
    weights: WEIGHTS,
};

/// The convolution of a projection.
pub(super) const PROJECTION: Names = Names {
    input: "projection.input",
    kernel: "projection.kernel",
    stride: "projection.stride",
    padding: "projection.padding",
    size: "projection.output size",
    groups: "projection.groups",
    accumulator: "projection.accumulator",
    weights: WeightNames {
        bits: "projection.weights.bits",
        codes: "projection.weights.codes",
        zero_points: "projection.weights.zero_points",
    },
};

/// The convolution fits its input, the size and channels of `output`, its weights and 32 bits.
pub(super) fn check(
    model: &Model<'_>,
    index: u16,
    names: &Names,
    convolution: &Convolution,
    output: &TensorSpec,
) -> Result<(), Fault> {
    let input = &convolution.input;
    Arena::of(model).tensor(names.input, input)?;
    if input.storage == Storage::Value32 {
        return Err(Fault::Storage { field: names.input });
    }
    geometry(names, convolution, output)?;
    let largest = magnitude(model, index, names.input, input)?;
    let taps = convolution.taps();
    let per_weight = taps.checked_mul(largest);
    for weight in weights(
        model,
        &names.weights,
        &convolution.weights,
        taps,
        output.channels,
    )? {
        let sum = per_weight.and_then(|sum| sum.checked_mul(weight));
        bounded(names.accumulator, sum, ACCUMULATOR_LIMIT)?;
    }
    Ok(())
}

fn geometry(names: &Names, convolution: &Convolution, output: &TensorSpec) -> Result<(), Fault> {
    let input = &convolution.input;
    let rows = Axis {
        input: input.height,
        output: output.height,
        kernel: convolution.kernel_height,
        stride: convolution.stride_y,
        padding: convolution.pad_top,
    };
    let columns = Axis {
        input: input.width,
        output: output.width,
        kernel: convolution.kernel_width,
        stride: convolution.stride_x,
        padding: convolution.pad_left,
    };
    rows.check(names)?;
    columns.check(names)?;
    for channels in [input.channels, output.channels] {
        if channels.checked_rem(convolution.groups) != Some(0) {
            return Err(Fault::Indivisible {
                field: names.groups,
                channels,
                groups: convolution.groups,
            });
        }
    }
    Ok(())
}

/// One dimension of a convolution.
struct Axis {
    input: u16,
    output: u16,
    kernel: u8,
    stride: u8,
    padding: u8,
}

impl Axis {
    fn check(&self, names: &Names) -> Result<(), Fault> {
        let kernel = i64::from(self.kernel);
        range(names.kernel, kernel, 1, u8::MAX.into())?;
        range(names.stride, self.stride.into(), 1, u8::MAX.into())?;
        range(names.padding, self.padding.into(), 0, kernel - 1)?;
        let (least, most) = (self.size(0), self.size(self.kernel - 1));
        range(names.size, self.output.into(), least, most)
    }

    /// Output size with `padding` behind the image.
    fn size(&self, padding: u8) -> i64 {
        let extent = i64::from(self.input) + i64::from(self.padding) + i64::from(padding);
        let room = extent - i64::from(self.kernel);
        room.div_euclid(i64::from(self.stride).max(1)) + 1
    }
}

/// The largest size of a weight, row by row, of rows that are complete and fit 16 bits.
pub(super) fn weights<'a>(
    model: &Model<'a>,
    names: &WeightNames,
    weights: &Weights,
    taps: u64,
    rows: u16,
) -> Result<impl Iterator<Item = u64> + use<'a>, Fault> {
    let most_bits = match weights.layout {
        Layout::Rows => 8,
        Layout::Pairs => Layout::PAIRS_MOST_BITS,
    };
    range(names.bits, weights.bits.into(), 2, most_bits.into())?;
    let section = Section::of(model);
    // At most 2^48 taps.
    let bytes = weights.layout.bytes(weights.bits, taps, rows);
    section.blob(names.codes, weights.codes, bytes)?;
    let zero_points = section.numbers(names.zero_points, weights.zero_points, rows)?;
    let largest = largest_code(weights.bits);
    for &zero_point in zero_points {
        let zero_point = i64::from(i16::from_le_bytes(zero_point));
        range(
            names.zero_points,
            zero_point,
            i16::MIN.into(),
            i64::from(i16::MAX) - largest,
        )?;
    }
    Ok(zero_points.iter().map(move |&zero_point| {
        let lowest = i64::from(i16::from_le_bytes(zero_point));
        lowest.unsigned_abs().max((lowest + largest).unsigned_abs())
    }))
}
