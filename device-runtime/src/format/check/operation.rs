//! Operations of each kind.

use super::convolution::{self, MAIN, PROJECTION, WEIGHTS};
use super::parts::{Arena, Named, Section, bounded, equal, range, values};
use super::source::magnitude;
use crate::format::{
    Blob, Fault, Kind, Model, Operation, Requantize, Residual, Scratch, Storage, TensorSpec,
};
use crate::kernels::scratch_bytes;

/// Largest size of a multiplier.
const MULTIPLIER: i64 = 1 << 30;
/// Largest size of a bias, one more than allowed.
const BIAS: i64 = 1 << 61;
/// Sums of pooled values stay below this.
const SUM_LIMIT: u64 = 1 << 31;
/// Scaled logits stay below this.
const LOGIT_LIMIT: u64 = 1 << 63;

/// Checks operation `index`.
pub(super) fn check(model: &Model<'_>, index: u16, operation: &Operation<'_>) -> Result<(), Fault> {
    let output = &operation.output;
    Arena::of(model).tensor("output", output)?;
    let checker = Checker {
        model,
        index,
        output,
    };
    match &operation.kind {
        Kind::InputTable { pixels, table } => checker.input_table(*pixels, *table),
        Kind::Conv2d {
            convolution,
            requantize,
            residual,
            scratch,
        } => {
            convolution::check(model, index, &MAIN, convolution, output)?;
            checker.read(MAIN.input, &convolution.input, Some(scratch))?;
            checker.requantize(requantize)?;
            checker.residual(residual, scratch)?;
            checker.scratch(&operation.kind, scratch)
        }
        Kind::Add {
            left,
            right,
            left_multiplier,
            right_multiplier,
            bias,
            shift,
            low,
            high,
        } => {
            checker.operand("left", left)?;
            checker.operand("right", right)?;
            checker.affine(*left_multiplier, *bias, *shift)?;
            checker.affine(*right_multiplier, *bias, *shift)?;
            checker.ends(*low, *high)
        }
        Kind::MaxPool {
            input,
            window,
            stride,
            padding,
        } => checker.max_pool(input, *window, *stride, *padding),
        Kind::SumPool {
            input,
            window,
            stride,
        } => {
            if output.storage != Storage::Value32 {
                return Err(Fault::Storage { field: "output" });
            }
            checker.pooled_sum(input, *window, *stride)
        }
        Kind::AveragePool {
            input,
            window,
            stride,
            multiplier,
            bias,
            shift,
            low,
            high,
        } => {
            checker.pooled_sum(input, *window, *stride)?;
            checker.affine(*multiplier, *bias, *shift)?;
            checker.ends(*low, *high)
        }
        Kind::Logits {
            input,
            weights,
            multipliers,
            biases,
            shifts,
        } => {
            checker.logits_output()?;
            checker.input("input", input)?;
            let largest = magnitude(model, index, "input", input)?;
            let (taps, classes) = (input.elements(), output.channels);
            let bounds = convolution::weights(model, &WEIGHTS, weights, taps, classes)?
                .map(|weight| taps.checked_mul(weight)?.checked_mul(largest));
            checker.logit_affines(bounds, *multipliers, *biases, *shifts)
        }
    }
}

/// An operation being checked.
struct Checker<'m, 'a> {
    model: &'m Model<'a>,
    index: u16,
    output: &'m TensorSpec,
}

impl<'a> Checker<'_, 'a> {
    fn section(&self) -> Section<'_, 'a> {
        Section::of(self.model)
    }

    fn input_table(&self, pixels: u32, table: Blob) -> Result<(), Fault> {
        let header = self.model.header();
        equal("pixels", header.pixels, pixels)?;
        let output = self.output;
        let shape = [output.height, output.width, output.channels];
        for (expected, found) in header.input.into_iter().zip(shape) {
            equal("output size", expected, found)?;
        }
        Named::new("pixels", pixels, output.elements()).apart(&self.written())?;
        let bytes = 512 * u64::from(output.channels);
        let entries = self.section().blob("table", table, bytes)?.as_chunks().0;
        let (low, high) = values(output);
        for &entry in entries {
            range("table", i16::from_le_bytes(entry).into(), low, high)?;
        }
        Ok(())
    }

    fn written(&self) -> Named {
        Named::tensor("output", self.output)
    }

    /// A tensor that is sound, the intact output of another operation, and apart from this output.
    fn input(&self, field: &'static str, input: &TensorSpec) -> Result<(), Fault> {
        Arena::of(self.model).tensor(field, input)?;
        self.read(field, input, None)?;
        magnitude(self.model, self.index, field, input).map(|_| ())
    }

    /// What is read is apart from what is written.
    fn read(
        &self,
        field: &'static str,
        input: &TensorSpec,
        scratch: Option<&Scratch>,
    ) -> Result<(), Fault> {
        let input = Named::tensor(field, input);
        input.apart(&self.written())?;
        match scratch {
            Some(scratch) => input.apart(&named(scratch)),
            None => Ok(()),
        }
    }

    /// Whether `input` lies exactly where the output does, element by element.
    fn in_place(&self, input: &TensorSpec) -> bool {
        let output = self.output;
        let same_type = TensorSpec {
            storage: output.storage,
            ..*input
        };
        same_type == *output && input.storage.bytes() == output.storage.bytes()
    }

    /// An operand of an addition: of the output's size, apart from it or exactly in its place.
    fn operand(&self, field: &'static str, input: &TensorSpec) -> Result<(), Fault> {
        equal(field, self.output.height, input.height)?;
        equal(field, self.output.width, input.width)?;
        equal(field, self.output.channels, input.channels)?;
        if self.in_place(input) {
            return magnitude(self.model, self.index, field, input).map(|_| ());
        }
        self.input(field, input)
    }

    fn requantize(&self, requantize: &Requantize) -> Result<(), Fault> {
        let channels = self.output.channels;
        self.multipliers("multipliers", requantize.multipliers)?;
        let biases = self
            .section()
            .numbers("biases", requantize.biases, channels)?;
        for &bias in biases {
            range("biases", i64::from_le_bytes(bias), 1 - BIAS, BIAS - 1)?;
        }
        let shifts = self
            .section()
            .numbers("shifts", requantize.shifts, channels)?;
        for &[shift] in shifts {
            range("shifts", shift.into(), 1, 62)?;
        }
        self.ends(requantize.low, requantize.high)
    }

    fn multipliers(&self, field: &'static str, blob: Blob) -> Result<(), Fault> {
        let multipliers = self.section().numbers(field, blob, self.output.channels)?;
        for &multiplier in multipliers {
            let multiplier = i32::from_le_bytes(multiplier);
            range(field, multiplier.into(), -MULTIPLIER, MULTIPLIER)?;
        }
        Ok(())
    }

    fn affine(&self, multiplier: i32, bias: i64, shift: u8) -> Result<(), Fault> {
        range("multiplier", multiplier.into(), -MULTIPLIER, MULTIPLIER)?;
        range("bias", bias, 1 - BIAS, BIAS - 1)?;
        range("shift", shift.into(), 1, 62)
    }

    /// The output's element type holds `low ..= high`.
    fn ends(&self, low: i32, high: i32) -> Result<(), Fault> {
        let (smallest, largest) = values(self.output);
        range("high", high.into(), smallest, largest)?;
        range("low", low.into(), smallest, high.into())
    }

    fn residual(&self, residual: &Residual, scratch: &Scratch) -> Result<(), Fault> {
        match residual {
            Residual::None => Ok(()),
            Residual::Identity {
                input,
                stride,
                channel_offset,
                multipliers,
            } => {
                self.multipliers("residual.multipliers", *multipliers)?;
                self.identity(input, *stride, *channel_offset, scratch)
            }
            Residual::Projection {
                convolution,
                multipliers,
            } => {
                self.multipliers("residual.multipliers", *multipliers)?;
                let (model, output) = (self.model, self.output);
                convolution::check(model, self.index, &PROJECTION, convolution, output)?;
                self.read(PROJECTION.input, &convolution.input, Some(scratch))
            }
        }
    }

    fn identity(
        &self,
        input: &TensorSpec,
        stride: u8,
        channel_offset: u16,
        scratch: &Scratch,
    ) -> Result<(), Fault> {
        let field = "residual.input";
        Arena::of(self.model).tensor(field, input)?;
        range("residual.stride", stride.into(), 1, u8::MAX.into())?;
        let output = self.output;
        for (size, length) in [(output.height, input.height), (output.width, input.width)] {
            let last = (i64::from(size) - 1) * i64::from(stride);
            range(field, last, 0, i64::from(length) - 1)?;
        }
        let most = i64::from(output.channels) - i64::from(input.channels);
        range("residual.channel_offset", channel_offset.into(), 0, most)?;
        magnitude(self.model, self.index, field, input)?;
        if self.in_place(input) && stride == 1 {
            return Ok(());
        }
        self.read(field, input, Some(scratch))
    }

    fn scratch(&self, kind: &Kind, scratch: &Scratch) -> Result<(), Fault> {
        let (given, most) = (i64::from(scratch.length), u32::MAX.into());
        let needed = i64::try_from(scratch_bytes(kind, 1)).unwrap_or(i64::MAX);
        range("scratch", given, needed, most)?;
        Arena::of(self.model).part("scratch", scratch.offset, scratch.length.into())?;
        named(scratch).apart(&self.written())
    }

    fn max_pool(
        &self,
        input: &TensorSpec,
        window: [u8; 2],
        stride: [u8; 2],
        padding: [u8; 2],
    ) -> Result<(), Fault> {
        self.pool_input(input)?;
        if input.storage != self.output.storage {
            return Err(Fault::Storage { field: "output" });
        }
        let (expected, found) = (self.output.zero_point.into(), input.zero_point.into());
        range("zero_point", found, expected, expected)?;
        let windows = window.into_iter().zip(stride).zip(padding);
        for (((window, stride), padding), (input, output)) in windows.zip(self.axes(input)) {
            let window = i64::from(window);
            range("window", window, 1, u8::MAX.into())?;
            range("stride", stride.into(), 1, u8::MAX.into())?;
            range("padding", padding.into(), 0, window - 1)?;
            // Every window touches the image.
            let last = (output - 1) * i64::from(stride) - i64::from(padding);
            range("output size", last, i64::MIN, input - 1)?;
        }
        Ok(())
    }

    /// Windows lie within the image and their sums fit 32 bits.
    fn pooled_sum(
        &self,
        input: &TensorSpec,
        window: [u8; 2],
        stride: [u8; 2],
    ) -> Result<(), Fault> {
        self.pool_input(input)?;
        let windows = window.into_iter().zip(stride);
        for ((window, stride), (input, output)) in windows.zip(self.axes(input)) {
            range("window", window.into(), 1, u8::MAX.into())?;
            range("stride", stride.into(), 1, u8::MAX.into())?;
            let end = (output - 1) * i64::from(stride) + i64::from(window);
            range("output size", end, 1, input)?;
        }
        let area = window.into_iter().map(u64::from).product::<u64>();
        let largest = magnitude(self.model, self.index, "input", input)?;
        bounded("sum", area.checked_mul(largest), SUM_LIMIT)
    }

    fn pool_input(&self, input: &TensorSpec) -> Result<(), Fault> {
        self.input("input", input)?;
        equal("output channels", input.channels, self.output.channels)
    }

    /// Rows and columns of input and output.
    fn axes(&self, input: &TensorSpec) -> [(i64, i64); 2] {
        let output = self.output;
        [(input.height, output.height), (input.width, output.width)]
            .map(|(input, output)| (input.into(), output.into()))
    }

    fn logits_output(&self) -> Result<(), Fault> {
        let output = self.output;
        if output.storage != Storage::Value32 {
            return Err(Fault::Storage { field: "output" });
        }
        equal("output height", 1u64, output.height)?;
        equal("output width", 1u64, output.width)?;
        equal(
            "output channels",
            self.model.header().classes,
            output.channels,
        )
    }

    /// `|multiplier| * bound + |bias|` stays within 64 bits for every class.
    fn logit_affines(
        &self,
        bounds: impl Iterator<Item = Option<u64>>,
        multipliers: Blob,
        biases: Blob,
        shifts: Blob,
    ) -> Result<(), Fault> {
        let classes = self.output.channels;
        let multipliers = self
            .section()
            .numbers("multipliers", multipliers, classes)?;
        let biases = self.section().numbers("biases", biases, classes)?;
        let shifts = self.section().numbers("shifts", shifts, classes)?;
        for (((bound, &multiplier), &bias), &[shift]) in
            bounds.zip(multipliers).zip(biases).zip(shifts)
        {
            range("shifts", shift.into(), 1, 62)?;
            let multiplier = u64::from(i32::from_le_bytes(multiplier).unsigned_abs());
            let bias = i64::from_le_bytes(bias).unsigned_abs();
            let scaled = bound
                .and_then(|bound| bound.checked_mul(multiplier))
                .and_then(|scaled| scaled.checked_add(bias));
            bounded("logit", scaled, LOGIT_LIMIT)?;
        }
        Ok(())
    }
}

fn named(scratch: &Scratch) -> Named {
    Named::new("scratch", scratch.offset, scratch.length.into())
}
