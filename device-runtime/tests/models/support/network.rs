//! Networks that grow operation by operation, in the file and in plain numbers at once.

use lowbit_runtime::engine::{Engine, Observer, TensorView};
use lowbit_runtime::format::{
    Calibration, Convolution, Golden, Header, Kind, Layout, Model, Operation, Requantize, Residual,
    Scratch, Storage, TensorSpec, Weights,
};
use lowbit_runtime::kernels::{Kernels, scratch_bytes, tuned_scratch_bytes};

use super::reference::{Geometry, Plain, convolve, requantize, window};
use super::{File, Random};

/// Largest size of a logit before its bias, which has at most 61 bits, is added.
const LARGEST_LOGIT: i64 = i64::MAX - (1 << 61);

/// Element type of a tensor and its zero point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Element {
    Code { bits: u8, zero_point: i32 },
    Value16,
}

impl Element {
    fn range(self) -> (i64, i64) {
        match self {
            Self::Code { bits, zero_point } => {
                (zero_point.into(), i64::from(zero_point) + (1 << bits) - 1)
            }
            Self::Value16 => (i16::MIN.into(), i16::MAX.into()),
        }
    }

    fn storage(self) -> (Storage, i32) {
        match self {
            Self::Code { bits, zero_point } => (Storage::Code8 { bits }, zero_point),
            Self::Value16 => (Storage::Value16, 0),
        }
    }
}

/// A convolution to be drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvCase {
    pub(crate) kernel: [u8; 2],
    pub(crate) stride: [u8; 2],
    pub(crate) padding: [u8; 2],
    pub(crate) groups: u16,
    pub(crate) outputs_per_group: u16,
    pub(crate) weight_bits: u8,
    pub(crate) output: Element,
    /// Output positions that scratch has room for.
    pub(crate) tile: u32,
    /// Scratch beyond that, which must not matter.
    pub(crate) spare: u32,
}

/// What a convolution adds before rounding.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shortcut {
    None,
    /// Tensor, step, first channel.
    Identity(usize, u8, u16),
    /// Tensor, which the output overwrites.
    InPlace(usize),
    /// Tensor, step, weight bits.
    Projection(usize, u8, u8),
}

struct Tensor {
    spec: TensorSpec,
    plain: Plain,
}

/// A network for one image, with the result of every operation.
pub(crate) struct Network {
    random: Random,
    /// Whether zero points of weights are as low as they get, and some shifts as large.
    extreme: bool,
    file: File,
    header: Header<'static>,
    pixels: Vec<u8>,
    arena: u32,
    operations: Vec<Operation<'static>>,
    /// What each operation writes.
    tensors: Vec<Tensor>,
    /// Convolutions with their accumulators.
    sums: Vec<(u16, Plain)>,
}

impl Network {
    /// A random image and the table that turns it into values of type `element`.
    pub(crate) fn new(seed: u64, input: [u16; 3], element: Element) -> Self {
        Self::drawn(seed, input, element, false)
    }

    /// The same with numbers at the ends of their ranges: large codes, the lowest zero points of
    /// weights, and channels without a multiplier.
    pub(crate) fn extreme(seed: u64, input: [u16; 3], element: Element) -> Self {
        Self::drawn(seed, input, element, true)
    }

    fn drawn(seed: u64, input: [u16; 3], element: Element, extreme: bool) -> Self {
        let mut random = Random(seed);
        let shape = input.map(usize::from);
        let bytes = shape.iter().product();
        let pixels: Vec<u8> = random
            .many(bytes, 0, 255)
            .iter()
            .map(|&p| p as u8)
            .collect();
        let (low, high) = element.range();
        let (low, high) = (low.max(-2100), high.min(2100));
        let low = if extreme {
            high - (high - low) / 4
        } else {
            low
        };
        let table = random.many(256 * shape[2], low, high);
        let plain = Plain::from_fn(shape, |y, x, channel| {
            let pixel = pixels[(y * shape[1] + x) * shape[2] + channel];
            table[usize::from(pixel) * shape[2] + channel]
        });
        let mut network = Self {
            random,
            extreme,
            file: File::default(),
            header: Header {
                name: "random",
                input,
                pixels: 0,
                classes: 1,
                operations: 0,
                arena_bytes: 0,
                golden: Golden::default(),
                calibration: Calibration::default(),
            },
            pixels,
            arena: bytes as u32,
            operations: Vec::new(),
            tensors: Vec::new(),
            sums: Vec::new(),
        };
        let table = network.file.push_i16(&table);
        let spec = network.place(&plain, element);
        network.push(Kind::InputTable { pixels: 0, table }, spec, plain);
        network
    }

    /// Height, width and channels of what operation `index` writes.
    pub(crate) fn shape(&self, index: usize) -> [usize; 3] {
        let plain = &self.tensors[index].plain;
        [plain.height, plain.width, plain.channels]
    }

    /// Index of the last operation.
    pub(crate) fn last(&self) -> usize {
        self.operations.len() - 1
    }

    pub(crate) fn conv(&mut self, input: usize, case: &ConvCase, shortcut: Shortcut) -> usize {
        let size = self.conv_size(input, case);
        let outputs = case.outputs_per_group * case.groups;
        let (convolution, sums) = self.source(input, case, outputs, size);
        let (low, high) = case.output.range();
        let (residual, addends, taken) = self.residual(shortcut, &sums, size, outputs);
        let affine = self.affines(&sums, low, high, outputs.into());
        let channels = usize::from(outputs);
        let plain = Plain::from_fn([size[0], size[1], channels], |y, x, channel| {
            let index = (y * size[1] + x) * channels + channel;
            let sum = i128::from(affine.multipliers[channel]) * i128::from(sums.values[index]);
            let (bias, shift) = (affine.biases[channel], affine.shifts[channel]);
            requantize(sum + addends[index], bias, shift, low, high)
        });
        let requantize = Requantize {
            multipliers: self.file.push_i32(&affine.multipliers),
            biases: self.file.push_i64(&affine.biases),
            shifts: self.file.push(&affine.shifts),
            low: low as i32,
            high: high as i32,
        };
        let spec = match taken {
            Some(spec) => spec,
            None => self.place(&plain, case.output),
        };
        let mut kind = Kind::Conv2d {
            convolution,
            requantize,
            residual,
            scratch: Scratch::default(),
        };
        let rows = case.tile.min(u32::from(spec.height)) as u16;
        let tuned = tuned_scratch_bytes(&kind, &spec, rows).unwrap_or(0);
        let length = scratch_bytes(&kind, case.tile).max(tuned) as u32 + case.spare;
        if let Kind::Conv2d { scratch, .. } = &mut kind {
            *scratch = Scratch {
                offset: self.reserve(length),
                length,
            };
        }
        self.sums.push((self.operations.len() as u16, sums));
        self.push(kind, spec, plain)
    }

    fn conv_size(&self, input: usize, case: &ConvCase) -> [usize; 2] {
        let [height, width, _] = self.shape(input);
        let size = |length: usize, axis: usize| {
            let kernel = usize::from(case.kernel[axis]);
            let room = (length + 2 * usize::from(case.padding[axis])).saturating_sub(kernel);
            room / usize::from(case.stride[axis]) + 1
        };
        [size(height, 0), size(width, 1)]
    }

    fn source(
        &mut self,
        input: usize,
        case: &ConvCase,
        outputs: u16,
        size: [usize; 2],
    ) -> (Convolution, Plain) {
        let channels = self.shape(input)[2] / usize::from(case.groups);
        let taps = usize::from(case.kernel[0]) * usize::from(case.kernel[1]) * channels;
        let (weights, values) = self.weights(case.weight_bits, outputs.into(), taps);
        let geometry = Geometry {
            kernel: case.kernel.map(usize::from),
            stride: case.stride.map(usize::from),
            padding: case.padding.map(usize::from),
            groups: case.groups.into(),
        };
        let sums = convolve(&self.tensors[input].plain, &geometry, &values, size);
        let convolution = Convolution {
            input: self.tensors[input].spec,
            kernel_height: case.kernel[0],
            kernel_width: case.kernel[1],
            stride_y: case.stride[0],
            stride_x: case.stride[1],
            pad_top: case.padding[0],
            pad_left: case.padding[1],
            groups: case.groups,
            weights,
        };
        (convolution, sums)
    }

    fn weights(&mut self, bits: u8, rows: usize, taps: usize) -> (Weights, Vec<Vec<i64>>) {
        let codes: Vec<Vec<i64>> = (0..rows)
            .map(|_| self.random.many(taps, 0, (1 << bits) - 1))
            .collect();
        let [lowest, highest] = match self.extreme {
            true => [i16::MIN.into(), i64::from(i16::MIN) + 9],
            false => [-(1 << bits) - 7, 7],
        };
        let zero_points = self.random.many(rows, lowest, highest);
        let values = codes
            .iter()
            .zip(&zero_points)
            .map(|(row, zero_point)| row.iter().map(|code| code + zero_point).collect())
            .collect();
        let paired = bits <= 5 && self.random.between(0, 1) == 1;
        let (layout, codes) = if paired {
            (Layout::Pairs, self.file.push_pairs(bits, &codes))
        } else {
            (Layout::Rows, self.file.push_codes(bits, &codes))
        };
        let weights = Weights {
            bits,
            layout,
            codes,
            zero_points: self.file.push_i16(&zero_points),
        };
        (weights, values)
    }

    /// The residual, its multiplied values, and the tensor that the output overwrites.
    fn residual(
        &mut self,
        shortcut: Shortcut,
        sums: &Plain,
        size: [usize; 2],
        outputs: u16,
    ) -> (Residual, Vec<i128>, Option<TensorSpec>) {
        let count = usize::from(outputs);
        let multipliers = self.random.many(count, -(1 << 30), 1 << 30);
        let scaled = |plain: &Plain| -> Vec<i128> {
            let multipliers = multipliers.iter().cycle();
            let pairs = plain.values.iter().zip(multipliers);
            pairs
                .map(|(&v, &m)| i128::from(v) * i128::from(m))
                .collect()
        };
        match shortcut {
            Shortcut::None => (Residual::None, vec![0; sums.values.len()], None),
            Shortcut::Identity(tensor, stride, channel_offset) => {
                let source = &self.tensors[tensor];
                let skipped = Plain::from_fn([size[0], size[1], count], |y, x, channel| {
                    let (y, x) = (y * usize::from(stride), x * usize::from(stride));
                    match channel.checked_sub(channel_offset.into()) {
                        Some(c) if c < source.plain.channels => {
                            source.plain.at(y as i64, x as i64, c).unwrap()
                        }
                        _ => 0,
                    }
                });
                let residual = Residual::Identity {
                    input: source.spec,
                    stride,
                    channel_offset,
                    multipliers: self.file.push_i32(&multipliers),
                };
                (residual, scaled(&skipped), None)
            }
            Shortcut::InPlace(tensor) => {
                let source = &self.tensors[tensor];
                let (spec, addends) = (source.spec, scaled(&source.plain));
                let residual = Residual::Identity {
                    input: spec,
                    stride: 1,
                    channel_offset: 0,
                    multipliers: self.file.push_i32(&multipliers),
                };
                (residual, addends, Some(spec))
            }
            Shortcut::Projection(tensor, stride, weight_bits) => {
                let case = ConvCase {
                    kernel: [1, 1],
                    stride: [stride; 2],
                    padding: [0, 0],
                    groups: 1,
                    outputs_per_group: outputs,
                    weight_bits,
                    output: Element::Value16,
                    tile: 1,
                    spare: 0,
                };
                let (convolution, sums) = self.source(tensor, &case, outputs, size);
                let residual = Residual::Projection {
                    convolution,
                    multipliers: self.file.push_i32(&multipliers),
                };
                (residual, scaled(&sums), None)
            }
        }
    }

    /// Parameters that spread `sums` over `low ..= high` and somewhat beyond.
    fn affines(&mut self, sums: &Plain, low: i64, high: i64, channels: usize) -> Affines {
        let largest = sums.values.iter().map(|sum| sum.abs()).max().unwrap_or(0);
        let spread = (largest + 1).ilog2() as i64;
        let width = (high - low + 1).ilog2() as i64;
        let mut shifts: Vec<u8> = (0..channels)
            .map(|_| (29 + spread - width + self.random.between(0, 1)).clamp(1, 62) as u8)
            .collect();
        let mut multipliers = self.random.many(channels, -(1 << 30), 1 << 30);
        if self.extreme {
            for (multiplier, shift) in multipliers.iter_mut().zip(&mut shifts) {
                match self.random.between(0, 7) {
                    0 => (*multiplier, *shift) = (0, self.random.between(40, 62) as u8),
                    1 => *shift = self.random.between(40, 62) as u8,
                    _ => {}
                }
            }
        }
        let biases = shifts
            .iter()
            .map(|&shift| {
                let most = (1i64 << 61) - 1;
                let rounding = 1i64 << (shift - 1);
                let offset = self.random.between(low, high);
                let bias = i128::from(offset) << shift >> 1;
                (bias + i128::from(rounding)).clamp((-most).into(), most.into()) as i64
            })
            .collect();
        Affines {
            multipliers,
            biases,
            shifts,
        }
    }

    pub(crate) fn add(
        &mut self,
        left: usize,
        right: usize,
        output: Element,
        in_place: bool,
    ) -> usize {
        let (low, high) = output.range();
        let [m_left, m_right] = [0, 1].map(|_| self.random.between(-(1 << 30), 1 << 30));
        let affine = self.affines(&self.tensors[left].plain.clone(), low, high, 1);
        let (bias, shift) = (affine.biases[0], affine.shifts[0]);
        let (l, r) = (&self.tensors[left], &self.tensors[right]);
        let mut plain = l.plain.clone();
        for (value, right) in plain.values.iter_mut().zip(&r.plain.values) {
            let sum =
                i128::from(*value) * i128::from(m_left) + i128::from(*right) * i128::from(m_right);
            *value = requantize(sum, bias, shift, low, high);
        }
        let kind = Kind::Add {
            left: l.spec,
            right: r.spec,
            left_multiplier: m_left as i32,
            right_multiplier: m_right as i32,
            bias,
            shift,
            low: low as i32,
            high: high as i32,
        };
        let spec = if in_place {
            r.spec
        } else {
            self.place(&plain, output)
        };
        self.push(kind, spec, plain)
    }

    fn pool_plain(
        &self,
        input: usize,
        [size, stride, padding]: [[u8; 2]; 3],
        reduce: impl Fn(&[i64]) -> i64,
    ) -> Plain {
        let source = &self.tensors[input].plain;
        let length = |axis: usize, length: usize| {
            let room = length + 2 * usize::from(padding[axis]) - usize::from(size[axis]);
            room / usize::from(stride[axis]) + 1
        };
        let shape = [
            length(0, source.height),
            length(1, source.width),
            source.channels,
        ];
        let [size, stride, padding] = [size, stride, padding].map(|pair| pair.map(usize::from));
        Plain::from_fn(shape, |y, x, channel| {
            reduce(&window(source, [y, x, channel], size, stride, padding))
        })
    }

    pub(crate) fn max_pool(&mut self, input: usize, windows: [[u8; 2]; 3]) -> usize {
        let plain = self.pool_plain(input, windows, |values| *values.iter().max().unwrap());
        let source = self.tensors[input].spec;
        let spec = self.place_like(&plain, source.storage, source.zero_point);
        let [window, stride, padding] = windows;
        let kind = Kind::MaxPool {
            input: source,
            window,
            stride,
            padding,
        };
        self.push(kind, spec, plain)
    }

    pub(crate) fn sum_pool(&mut self, input: usize, window: [u8; 2], stride: [u8; 2]) -> usize {
        let plain = self.pool_plain(input, [window, stride, [0; 2]], |values| {
            values.iter().sum()
        });
        let spec = self.place_like(&plain, Storage::Value32, 0);
        let kind = Kind::SumPool {
            input: self.tensors[input].spec,
            window,
            stride,
        };
        self.push(kind, spec, plain)
    }

    pub(crate) fn average_pool(
        &mut self,
        input: usize,
        window: [u8; 2],
        stride: [u8; 2],
        output: Element,
    ) -> usize {
        let sums = self.pool_plain(input, [window, stride, [0; 2]], |values| {
            values.iter().sum()
        });
        let (low, high) = output.range();
        let affine = self.affines(&sums, low, high, 1);
        let (multiplier, bias, shift) = (affine.multipliers[0], affine.biases[0], affine.shifts[0]);
        let mut plain = sums;
        for value in &mut plain.values {
            let sum = i128::from(*value) * i128::from(multiplier);
            *value = requantize(sum, bias, shift, low, high);
        }
        let spec = self.place(&plain, output);
        let kind = Kind::AveragePool {
            input: self.tensors[input].spec,
            window,
            stride,
            multiplier: multiplier as i32,
            bias,
            shift,
            low: low as i32,
            high: high as i32,
        };
        self.push(kind, spec, plain)
    }

    pub(crate) fn logits(&mut self, classes: u16, weight_bits: u8) -> usize {
        let input = self.last();
        let features = self.tensors[input].plain.values.clone();
        let count = usize::from(classes);
        // Their bounds leave no room for extremes.
        self.extreme = false;
        let (weights, values) = self.weights(weight_bits, count, features.len());
        let sums = Plain::from_fn([1, 1, count], |_, _, class| {
            let pairs = values[class].iter().zip(&features);
            pairs.map(|(weight, feature)| weight * feature).sum()
        });
        let (low, high) = (i32::MIN.into(), i32::MAX.into());
        let mut affine = self.affines(&sums, -(1 << 20), 1 << 20, count);
        // Files must leave room in 64 bits for the largest sums, not only for those of this image.
        let weight = (1 << weight_bits) + 7;
        let most = LARGEST_LOGIT / (features.len() as i64 * self.largest(input) * weight);
        for multiplier in &mut affine.multipliers {
            *multiplier = (*multiplier).clamp(-most, most);
        }
        let plain = Plain::from_fn([1, 1, count], |_, _, class| {
            let sum = i128::from(affine.multipliers[class]) * i128::from(sums.values[class]);
            requantize(sum, affine.biases[class], affine.shifts[class], low, high)
        });
        let kind = Kind::Logits {
            input: self.tensors[input].spec,
            weights,
            multipliers: self.file.push_i32(&affine.multipliers),
            biases: self.file.push_i64(&affine.biases),
            shifts: self.file.push(&affine.shifts),
        };
        let spec = self.place_like(&plain, Storage::Value32, 0);
        self.header.classes = classes;
        self.push(kind, spec, plain)
    }

    /// The size that no element of what operation `index` writes exceeds, whatever the image.
    fn largest(&self, index: usize) -> i64 {
        let operation = &self.operations[index];
        let (spec, summed) = match operation.kind {
            Kind::SumPool { input, window, .. } => (input, window.map(i64::from).iter().product()),
            _ => (operation.output, 1),
        };
        let (low, high) = match spec.storage {
            Storage::Code8 { bits } => Element::Code {
                bits,
                zero_point: spec.zero_point,
            }
            .range(),
            _ => Element::Value16.range(),
        };
        summed * low.abs().max(high.abs())
    }

    fn push(&mut self, kind: Kind, output: TensorSpec, plain: Plain) -> usize {
        self.operations.push(Operation {
            name: "layer",
            kind,
            output,
        });
        self.tensors.push(Tensor {
            spec: output,
            plain,
        });
        self.last()
    }

    fn place(&mut self, plain: &Plain, element: Element) -> TensorSpec {
        let (storage, zero_point) = element.storage();
        self.place_like(plain, storage, zero_point)
    }

    fn place_like(&mut self, plain: &Plain, storage: Storage, zero_point: i32) -> TensorSpec {
        let bytes = plain.values.len() * storage.bytes();
        TensorSpec {
            offset: self.reserve(bytes as u32),
            height: plain.height as u16,
            width: plain.width as u16,
            channels: plain.channels as u16,
            storage,
            zero_point,
        }
    }

    fn reserve(&mut self, bytes: u32) -> u32 {
        let offset = self.arena.next_multiple_of(8);
        self.arena = offset + bytes;
        offset
    }

    /// The packed file, with golden results for its only image.
    pub(crate) fn pack(&mut self) -> Vec<u8> {
        let logits = self.tensors.last().unwrap().plain.values.clone();
        let pixels = self.pixels.clone();
        let digests = vec![0; self.operations.len()];
        self.header.operations = self.operations.len() as u16;
        self.header.arena_bytes = self.arena;
        self.header.golden = Golden {
            images: 1,
            pixels: self.file.push(&pixels),
            digests: self.file.push_i32(&digests),
            logits: self.file.push_i32(&logits),
        };
        self.header.calibration = super::calibration::write(&mut self.file, &self.sums);
        self.file.finish(&self.header, &self.operations)
    }

    /// The input.
    pub(crate) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Where operation `index` writes.
    pub(crate) fn output(&self, index: usize) -> TensorSpec {
        self.operations[index].output
    }

    /// Changes an operation behind the back of everything else.
    pub(crate) fn edit(&mut self, index: usize, change: impl FnOnce(&mut Operation<'static>)) {
        change(&mut self.operations[index]);
    }

    /// Changes the convolution of an operation.
    pub(crate) fn edit_conv(&mut self, index: usize, change: impl FnOnce(&mut Convolution)) {
        self.edit(index, |operation| match &mut operation.kind {
            Kind::Conv2d { convolution, .. } => change(convolution),
            kind => panic!("{kind:?} is not a convolution"),
        });
    }

    /// Packs and runs the network with all kernels, and compares every element of every
    /// operation's output.
    pub(crate) fn verify(&mut self) -> Result<(), String> {
        let file = self.pack();
        let model = Model::new_checked(&file).map_err(|error| error.to_string())?;
        self.run(model, Kernels::Reference)?;
        self.run(model, Kernels::Tuned)?;
        super::calibration::compare(&model, &self.pixels, &self.sums)?;
        #[cfg(all(feature = "std", feature = "_test"))]
        super::batch::compare(&model, &self.pixels)?;
        Ok(())
    }

    fn run(&self, model: Model<'_>, kernels: Kernels) -> Result<(), String> {
        let mut words = vec![0xa5a5_a5a5_a5a5_a5a5u64; self.arena.div_ceil(8) as usize];
        let arena = bytemuck::cast_slice_mut(&mut words);
        let mut engine =
            Engine::with_kernels(model, arena, kernels).map_err(|error| error.to_string())?;
        engine.pixels_mut().copy_from_slice(&self.pixels);
        let mut comparison = Comparison {
            tensors: &self.tensors,
            difference: None,
        };
        let ended = engine.run(&mut comparison).is_none();
        match comparison.difference {
            Some(difference) => Err(format!("{kernels:?}: {difference}")),
            None if ended => Err("ended early".to_owned()),
            None => Ok(()),
        }
    }
}

struct Affines {
    multipliers: Vec<i64>,
    biases: Vec<i64>,
    shifts: Vec<u8>,
}

struct Comparison<'a> {
    tensors: &'a [Tensor],
    difference: Option<String>,
}

impl Observer for Comparison<'_> {
    fn observe(
        &mut self,
        index: usize,
        operation: &Operation<'_>,
        output: &TensorView<'_>,
    ) -> std::ops::ControlFlow<()> {
        let plain = &self.tensors[index].plain;
        let shape = [plain.height, plain.width, plain.channels];
        let found = Plain::from_fn(shape, |y, x, channel| {
            let value = output.value(y as u16, x as u16, channel as u16);
            value.expect("an element within the tensor").into()
        });
        if found.values == plain.values {
            return std::ops::ControlFlow::Continue(());
        }
        self.difference = Some(format!(
            "operation {index} {operation:?}\n found {:?}\nneeded {:?}",
            found.values, plain.values
        ));
        std::ops::ControlFlow::Break(())
    }
}
