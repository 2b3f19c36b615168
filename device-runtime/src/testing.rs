//! Packed files for tests, small enough to be built by hand, and a board that they can be sent to.

pub mod host;
pub mod memory_flash;

use alloc::vec;
use alloc::vec::Vec;

use crate::calibration::{Plan, PlanLayer, Reference};
use crate::format::{
    BLOB_ALIGNMENT, Blob, CHECKSUM, Calibration, Convolution, Golden, Header, Kind, Layout, MAGIC,
    Operation, PROLOGUE_BYTES, Requantize, Residual, Scratch, Storage, TensorSpec, VERSION,
    Weights,
};

/// Bytes of one image.
pub const PIXELS: usize = 4;
/// Number of classes.
pub const CLASSES: usize = 2;
/// Bytes of arena.
pub const ARENA_BYTES: usize = 32;

struct Blobs(Vec<u8>);

impl Blobs {
    fn push(&mut self, bytes: &[u8]) -> Blob {
        self.0
            .resize(self.0.len().next_multiple_of(BLOB_ALIGNMENT), 0);
        let offset = self.0.len() as u32;
        self.0.extend(bytes);
        Blob {
            offset,
            length: bytes.len() as u32,
        }
    }
}

fn encoded(value: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = [0; 512];
    postcard::to_slice(value, &mut bytes)
        .expect("fits")
        .to_vec()
}

/// A model of two operations: pixels to values, values to logits. Class 0 is the sum of the pixels
/// plus `bias`, class 1 is `bias`. The identity is `identity` over and over, no SHA-256.
#[must_use]
pub fn tiny_model(bias: i64, identity: u8) -> Vec<u8> {
    let mut blobs = Blobs(Vec::new());
    let table: Vec<u8> = (0..256i16).flat_map(i16::to_le_bytes).collect();
    let values = TensorSpec {
        offset: 8,
        height: 2,
        width: 2,
        channels: 1,
        storage: Storage::Value16,
        zero_point: 0,
    };
    let input_table = Operation {
        name: "input",
        kind: Kind::InputTable {
            pixels: 0,
            table: blobs.push(&table),
        },
        output: values,
    };
    let logits = Operation {
        name: "output",
        kind: Kind::Logits {
            input: values,
            weights: Weights {
                bits: 2,
                layout: Layout::Rows,
                codes: blobs.push(&[0b0101_0101, 0]),
                zero_points: blobs.push(&[0; 4]),
            },
            multipliers: blobs.push([2i32.to_le_bytes(); 2].as_flattened()),
            biases: blobs.push([(2 * bias).to_le_bytes(); 2].as_flattened()),
            shifts: blobs.push(&[1, 1]),
        },
        output: TensorSpec {
            offset: 16,
            height: 1,
            width: 1,
            channels: CLASSES as u16,
            storage: Storage::Value32,
            zero_point: 0,
        },
    };
    let header = Header {
        name: "tiny",
        input: [2, 2, 1],
        pixels: 0,
        classes: CLASSES as u16,
        operations: 2,
        arena_bytes: ARENA_BYTES as u32,
        golden: Golden::default(),
        calibration: Calibration::default(),
    };
    let program = [encoded(&input_table), encoded(&logits)].concat();
    assemble(identity, &encoded(&header), &program, &blobs.0)
}

/// Bytes of arena of [`calibratable_model`].
pub const CALIBRATABLE_ARENA_BYTES: usize = 80;

/// A model with a convolution between pixels and logits that can be calibrated. Its first channel
/// is the pixel, its second half of it; class 0 is the sum of both channels minus 800, class 1 is 0.
/// In training, pixels had a mean of 100 and a deviation of 50. The identity is `identity` over and
/// over, no SHA-256.
#[must_use]
pub fn calibratable_model(identity: u8) -> Vec<u8> {
    let mut blobs = Blobs(Vec::new());
    let table: Vec<u8> = (0..256i16).flat_map(i16::to_le_bytes).collect();
    let tensor = |offset, size, channels, storage| TensorSpec {
        offset,
        height: size,
        width: size,
        channels,
        storage,
        zero_point: 0,
    };
    let values = tensor(8, 2, 1, Storage::Value16);
    let codes = tensor(16, 2, CLASSES as u16, Storage::Code8 { bits: 8 });
    let mut weights = |rows: [&[u8]; CLASSES]| Weights {
        bits: 2,
        layout: Layout::Rows,
        codes: blobs.push(&rows.concat()),
        zero_points: blobs.push(&[0; 4]),
    };
    let (ones, classifier) = (weights([&[1], &[1]]), weights([&[0x55; 2], &[0; 2]]));
    let convolution = Convolution {
        input: values,
        kernel_height: 1,
        kernel_width: 1,
        stride_y: 1,
        stride_x: 1,
        pad_top: 0,
        pad_left: 0,
        groups: 1,
        weights: ones,
    };
    let operations = [
        Operation {
            name: "input",
            kind: Kind::InputTable {
                pixels: 0,
                table: blobs.push(&table),
            },
            output: values,
        },
        Operation {
            name: "convolution",
            kind: Kind::Conv2d {
                convolution,
                requantize: Requantize {
                    multipliers: blobs
                        .push([1i32 << 10, 1 << 9].map(i32::to_le_bytes).as_flattened()),
                    biases: blobs.push([(1i64 << 9).to_le_bytes(); CLASSES].as_flattened()),
                    shifts: blobs.push(&[10; CLASSES]),
                    low: 0,
                    high: 255,
                },
                residual: Residual::None,
                scratch: Scratch {
                    offset: 24,
                    length: 48,
                },
            },
            output: codes,
        },
        Operation {
            name: "output",
            kind: Kind::Logits {
                input: codes,
                weights: classifier,
                multipliers: blobs.push([2i32.to_le_bytes(); CLASSES].as_flattened()),
                biases: blobs.push([-1600i64, 0].map(i64::to_le_bytes).as_flattened()),
                shifts: blobs.push(&[1; CLASSES]),
            },
            output: tensor(72, 1, CLASSES as u16, Storage::Value32),
        },
    ];
    let reference = Reference {
        shift: 0,
        mean: 100 << 16,
        variance: 2500 << 16,
    };
    let plan = PlanLayer::entry(1, CLASSES as u16, 0, true);
    let statistics = [reference.encode(); CLASSES];
    let calibration = Calibration {
        checksum: Plan::checksum_of(&plan, statistics.as_flattened()),
        plan: blobs.push(&plan),
        statistics: blobs.push(statistics.as_flattened()),
    };
    let header = Header {
        name: "calibratable",
        input: [2, 2, 1],
        pixels: 0,
        classes: CLASSES as u16,
        operations: operations.len() as u16,
        arena_bytes: CALIBRATABLE_ARENA_BYTES as u32,
        golden: Golden::default(),
        calibration,
    };
    let program: Vec<u8> = operations.iter().flat_map(encoded).collect();
    assemble(identity, &encoded(&header), &program, &blobs.0)
}

fn assemble(identity: u8, header: &[u8], program: &[u8], blobs: &[u8]) -> Vec<u8> {
    let mut file = vec![0; PROLOGUE_BYTES];
    file.extend(header);
    file.extend(program);
    file.resize(file.len().next_multiple_of(BLOB_ALIGNMENT), 0);
    file.extend(blobs);
    let length = file.len() as u32;
    file[..8].copy_from_slice(&MAGIC);
    file[8..10].copy_from_slice(&VERSION.to_le_bytes());
    file[12..16].copy_from_slice(&length.to_le_bytes());
    file[16..20].copy_from_slice(&(header.len() as u32).to_le_bytes());
    file[20..24].copy_from_slice(&(program.len() as u32).to_le_bytes());
    file[32..64].fill(identity);
    let checksum = CHECKSUM.checksum(&file[32..]);
    file[24..28].copy_from_slice(&checksum.to_le_bytes());
    file
}
