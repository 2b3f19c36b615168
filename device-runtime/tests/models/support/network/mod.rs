//! Networks that grow operation by operation, in the file and in plain numbers at once.

mod convolutions;
mod others;

use lowbit_runtime::engine::{Engine, Observer, TensorView};
use lowbit_runtime::format::{
    Calibration, Convolution, Golden, Header, Kind, Model, Operation, Storage, TensorSpec,
};
use lowbit_runtime::kernels::Kernels;

use super::reference::Plain;
use super::{File, Random};

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
