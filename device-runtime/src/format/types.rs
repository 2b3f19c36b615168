//! What the header and the program of a packed file consist of.
//!
//! The types are plain values: the host builds them, `postcard` encodes them, and the board decodes
//! them one operation at a time while it runs. Offsets of blobs count from the start of the blob
//! section, offsets of tensors from the start of the arena; every blob starts at a multiple of
//! [`BLOB_ALIGNMENT`](super::BLOB_ALIGNMENT), every tensor at one of
//! [`TENSOR_ALIGNMENT`](super::TENSOR_ALIGNMENT). Numbers in blobs are little-endian.

use serde::{Deserialize, Serialize};

/// A byte range of the blob section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Blob {
    /// First byte, from the start of the blob section.
    pub offset: u32,
    /// Number of bytes.
    pub length: u32,
}

/// How the elements of a tensor lie in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Storage {
    /// One byte per element: the unsigned code `u` in `0 ..= 2^bits - 1`; the integer value is
    /// `u + zero_point`.
    Code8 {
        /// Width of the code, 1 to 8.
        bits: u8,
    },
    /// Two bytes per element: the integer value itself.
    Value16,
    /// Four bytes per element: pooled sums and logits.
    Value32,
}

impl Storage {
    /// Bytes per element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Code8 { .. } => 1,
            Self::Value16 => 2,
            Self::Value32 => 4,
        }
    }
}

/// A tensor of one image, height x width x channels, channels last, at a fixed place of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// First byte in the arena.
    pub offset: u32,
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
    /// Channels.
    pub channels: u16,
    /// Element type.
    pub storage: Storage,
    /// Added to a code to give the integer value; 0 for `Value16` and `Value32`.
    pub zero_point: i32,
}

impl TensorSpec {
    /// Number of elements.
    #[must_use]
    pub const fn elements(&self) -> u64 {
        self.height as u64 * self.width as u64 * self.channels as u64
    }

    /// Number of bytes, `usize::MAX` if it does not fit.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        let bytes = self.elements() * self.storage.bytes() as u64;
        if bytes > usize::MAX as u64 {
            return usize::MAX;
        }
        bytes as usize
    }
}

/// How the codes of weights lie in their blob. Every core reads every layout; each layout is fast
/// for the kernels that it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Layout {
    /// Per output channel one bit stream (little-endian, lowest bit first) that starts on a byte
    /// boundary.
    #[default]
    Rows,
    /// Per pair of output channels little-endian words of 32 bits, each with `32 / (2 * bits)` taps
    /// of both channels: `sum of code[1][i] << (2 * bits * i) | code[0][i] << (2 * bits * i + bits)`.
    /// Rotated right by `2 * bits * i + bits`, a word has the first channel's code in its lowest
    /// bits and the second channel's in its highest, ready to be multiplied by both at once. Codes
    /// of taps behind the last and of the channel that an odd number lacks do not matter.
    Pairs,
}

impl Layout {
    /// Most bits that a code of [`Pairs`](Self::Pairs) may have.
    pub const PAIRS_MOST_BITS: u8 = 5;

    /// Taps in a word of [`Pairs`](Self::Pairs).
    #[must_use]
    pub const fn pairs_per_word(bits: u8) -> u64 {
        match bits {
            2 => 8,
            3 => 5,
            4 => 4,
            5 => 3,
            _ => 1,
        }
    }

    /// Bytes of the codes of `rows` output channels.
    #[must_use]
    pub const fn bytes(self, bits: u8, taps: u64, rows: u16) -> u64 {
        match self {
            Self::Rows => (taps * bits as u64).div_ceil(8).saturating_mul(rows as u64),
            Self::Pairs => {
                let words = taps.div_ceil(Self::pairs_per_word(bits));
                words.saturating_mul(4 * (rows as u64).div_ceil(2))
            }
        }
    }
}

/// Weights of a convolution or linear layer: k-bit codes. Taps are ordered kernel row, kernel
/// column, input channel of the group, so that they match a patch of a channels-last image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Weights {
    /// Width of a code, 2 to 8.
    pub bits: u8,
    /// Order of the codes.
    pub layout: Layout,
    /// [`Layout::bytes`] bytes.
    pub codes: Blob,
    /// One `i16` per output channel: the integer weight is `code + zero_point`.
    pub zero_points: Blob,
}

/// Geometry and weights of a convolution. Padding is the real value 0: taps outside the image do
/// not contribute. The output size is the one of the operation's output tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convolution {
    /// The image read, `Code8` or `Value16`.
    pub input: TensorSpec,
    /// Rows of the kernel.
    pub kernel_height: u8,
    /// Columns of the kernel.
    pub kernel_width: u8,
    /// Step between rows of output, in rows of input.
    pub stride_y: u8,
    /// Step between columns of output, in columns of input.
    pub stride_x: u8,
    /// Rows of zeros above the image.
    pub pad_top: u8,
    /// Columns of zeros left of the image.
    pub pad_left: u8,
    /// Channel groups; equal to the input's channels for a depthwise convolution.
    pub groups: u16,
    /// The weights, one row per output channel.
    pub weights: Weights,
}

impl Convolution {
    /// Taps of one output channel: kernel rows x kernel columns x input channels per group.
    #[must_use]
    pub const fn taps(&self) -> u64 {
        let channels = match self.groups {
            0 => 0,
            groups => self.input.channels / groups,
        };
        self.kernel_height as u64 * self.kernel_width as u64 * channels as u64
    }
}

/// Parameters that turn an accumulator into an output value:
/// `clamp((multiplier * acc + bias) >> shift, low, high)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requantize {
    /// One `i32` per output channel, at most 2^30 in size.
    pub multipliers: Blob,
    /// One `i64` per output channel, below 2^61 in size; contains the rounding constant.
    pub biases: Blob,
    /// One `u8` per output channel, 1 to 62.
    pub shifts: Blob,
    /// Smallest integer value of the output (a ReLU sits here).
    pub low: i32,
    /// Largest integer value of the output.
    pub high: i32,
}

/// What is added to a convolution's scaled accumulator before its only rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Residual {
    /// Nothing.
    None,
    /// `multiplier[o] * value(y * stride, x * stride, o - channel_offset)`; nothing for channels
    /// outside the skipped tensor (the parameter-free shortcut pads them with zeros).
    Identity {
        /// The tensor that skips. The output may lie exactly in its place if both are alike in
        /// size, element type and zero point and the stride is 1.
        input: TensorSpec,
        /// Step in rows and columns of `input`.
        stride: u8,
        /// Output channel that the tensor's channel 0 is added to.
        channel_offset: u16,
        /// One `i32` per output channel, at most 2^30 in size.
        multipliers: Blob,
    },
    /// `multiplier[o] * acc2[o]`, the accumulator of a second convolution with the same output size.
    Projection {
        /// The second convolution.
        convolution: Convolution,
        /// One `i32` per output channel, at most 2^30 in size.
        multipliers: Blob,
    },
}

/// A part of the arena that an operation may overwrite while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scratch {
    /// First byte in the arena.
    pub offset: u32,
    /// Number of bytes.
    pub length: u32,
}

/// One step of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Turns pixels into integer values: `table[pixel * channels + channel]`.
    InputTable {
        /// First byte in the arena of the pixels, height x width x channels, one byte each.
        pixels: u32,
        /// `256 * channels` numbers of type `i16`.
        table: Blob,
    },
    /// Convolution (or linear layer, as 1x1 on a 1x1 image) with requantization.
    Conv2d {
        /// Geometry and weights.
        convolution: Convolution,
        /// Epilogue.
        requantize: Requantize,
        /// What is added before rounding.
        residual: Residual,
        /// Room for patches and unpacked weights, see [`kernels`](crate::kernels).
        scratch: Scratch,
    },
    /// `clamp((m_left * left + m_right * right + bias) >> shift, low, high)` per element. The
    /// output may lie exactly in the place of an operand of the same element type and zero point.
    Add {
        /// First operand.
        left: TensorSpec,
        /// Second operand, of the same size.
        right: TensorSpec,
        /// Multiplier of the first operand.
        left_multiplier: i32,
        /// Multiplier of the second operand.
        right_multiplier: i32,
        /// Contains the rounding constant.
        bias: i64,
        /// 1 to 62.
        shift: u8,
        /// Smallest integer value of the output.
        low: i32,
        /// Largest integer value of the output.
        high: i32,
    },
    /// Largest value of each window.
    MaxPool {
        /// The image read.
        input: TensorSpec,
        /// Rows and columns of the window.
        window: [u8; 2],
        /// Step in rows and columns.
        stride: [u8; 2],
        /// Rows above and columns left of the image; they never win.
        padding: [u8; 2],
    },
    /// Sum over each window that lies within the image, as `Value32`; the divisor is part of the
    /// next layer's multiplier.
    SumPool {
        /// The image read.
        input: TensorSpec,
        /// Rows and columns of the window.
        window: [u8; 2],
        /// Step in rows and columns.
        stride: [u8; 2],
    },
    /// Average over each window: `clamp((multiplier * sum + bias) >> shift, low, high)`.
    AveragePool {
        /// The image read.
        input: TensorSpec,
        /// Rows and columns of the window.
        window: [u8; 2],
        /// Step in rows and columns.
        stride: [u8; 2],
        /// Output codes per unit of the sum, times `2^shift`.
        multiplier: i32,
        /// Contains the rounding constant.
        bias: i64,
        /// 1 to 62.
        shift: u8,
        /// Smallest integer value of the output.
        low: i32,
        /// Largest integer value of the output.
        high: i32,
    },
    /// The classifier: `saturate_i32((multiplier * acc + bias) >> shift)`, unit 2^-16.
    Logits {
        /// All elements of this tensor, in memory order, are the features.
        input: TensorSpec,
        /// One row per class, one tap per feature.
        weights: Weights,
        /// One `i32` per class.
        multipliers: Blob,
        /// One `i64` per class.
        biases: Blob,
        /// One `u8` per class.
        shifts: Blob,
    },
}

/// A named step and the tensor that it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation<'a> {
    /// Name of the layer in the trained network.
    #[serde(borrow)]
    pub name: &'a str,
    /// What it computes.
    pub kind: Kind,
    /// Where the result goes.
    pub output: TensorSpec,
}

/// Inputs with the results that every device must reproduce, bit for bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Golden {
    /// Number of inputs.
    pub images: u16,
    /// Pixels, image after image, each height x width x channels bytes.
    pub pixels: Blob,
    /// Per image and operation the CRC-32 of the output in canonical order (`u32`).
    pub digests: Blob,
    /// Per image and class the logit (`i32`).
    pub logits: Blob,
}

/// What a device needs to adapt the model to its own inputs, see
/// [`calibration`](crate::calibration). All blobs are empty in a model without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Calibration {
    /// The layers that can be calibrated, in execution order, [`PLAN_ENTRY_BYTES`] each: operation
    /// (`u16`), channels (`u16`), shift of the summands (`u8`), 1 if the layer belongs to the fast
    /// plan and else 0 (`u8`), 0 (`u16`).
    pub plan: Blob,
    /// Layer after layer, channel after channel, [`STATISTICS_BYTES`] each: mean (`i64`) and variance
    /// (`u64`) of the accumulators in training, in units of 2^-16.
    pub statistics: Blob,
    /// CRC-32 of the plan, followed by the statistics: what a record names.
    pub checksum: u32,
}

/// Bytes of a layer in [`Calibration::plan`].
pub const PLAN_ENTRY_BYTES: usize = 8;
/// Bytes of a channel in [`Calibration::statistics`].
pub const STATISTICS_BYTES: usize = 16;

/// What a reader must know before it looks at the operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header<'a> {
    /// Name of the network.
    #[serde(borrow)]
    pub name: &'a str,
    /// Rows, columns and channels of the input pixels.
    pub input: [u16; 3],
    /// Where the caller puts the pixels, first byte in the arena.
    pub pixels: u32,
    /// Number of classes.
    pub classes: u16,
    /// Number of operations; the last one is [`Kind::Logits`].
    pub operations: u16,
    /// Bytes of arena that an inference needs.
    pub arena_bytes: u32,
    /// Inputs to check a device with.
    pub golden: Golden,
    /// What calibration needs.
    pub calibration: Calibration,
}
