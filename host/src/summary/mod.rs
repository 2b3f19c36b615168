//! What a packed model consists of, layer by layer, and what it needs of the memory.

mod memory;

use lowbit_runtime::format::{Convolution, Kind, Model, Operation, Residual, Storage, TensorSpec};

pub use memory::{Block, Content, MemoryPlan, memory};

/// One operation of a packed model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Layer {
    /// Name in the trained network.
    pub name: String,
    /// What it computes, e.g. `conv 3x3/2 + add`.
    pub op: String,
    /// Width of the weights, if it has any.
    pub weight_bits: Option<u8>,
    /// Width of the output's codes, `None` for integer values that are no codes.
    pub activation_bits: Option<u8>,
    /// Multiplications with weights, for one image.
    pub macs: u64,
    /// Bytes of packed weights.
    pub weight_bytes: u64,
    /// Height, width and channels of the output.
    pub output: [u16; 3],
    /// First byte of the output in the arena.
    pub arena_offset: u32,
    /// Bytes of arena that the output takes.
    pub output_bytes: u64,
    /// Bytes of arena used while it runs, for patches and unpacked weights.
    pub scratch_bytes: u32,
}

/// All operations of a model in execution order.
#[must_use]
pub fn layers(model: &Model<'_>) -> Vec<Layer> {
    model
        .operations()
        .map(|operation| layer(&operation))
        .collect()
}

fn layer(operation: &Operation<'_>) -> Layer {
    let output = &operation.output;
    let mut layer = Layer {
        name: operation.name.to_owned(),
        op: String::new(),
        weight_bits: None,
        activation_bits: match output.storage {
            Storage::Code8 { bits } => Some(bits),
            Storage::Value16 | Storage::Value32 => None,
        },
        macs: 0,
        weight_bytes: 0,
        output: [output.height, output.width, output.channels],
        arena_offset: output.offset,
        output_bytes: elements(output) * element_bytes(output.storage),
        scratch_bytes: 0,
    };
    match &operation.kind {
        Kind::InputTable { .. } => layer.op = "input table".into(),
        Kind::Conv2d {
            convolution,
            residual,
            scratch,
            ..
        } => {
            layer.op = convolution_name(convolution);
            layer.scratch_bytes = scratch.length;
            layer.add_convolution(convolution, output);
            match residual {
                Residual::None => {}
                Residual::Identity { .. } => layer.op.push_str(" + add"),
                Residual::Projection { convolution, .. } => {
                    layer
                        .op
                        .push_str(&format!(" + {}", convolution_name(convolution)));
                    layer.add_convolution(convolution, output);
                }
            }
        }
        Kind::Add { .. } => layer.op = "add".into(),
        Kind::MaxPool { window, .. } => layer.op = format!("max pool {}", size(window)),
        Kind::SumPool { window, .. } => layer.op = format!("sum pool {}", size(window)),
        Kind::AveragePool { window, .. } => layer.op = format!("average pool {}", size(window)),
        Kind::Logits { input, weights, .. } => {
            layer.op = "linear".into();
            layer.weight_bits = Some(weights.bits);
            layer.macs = elements(input) * elements(output);
            layer.weight_bytes = u64::from(weights.codes.length);
        }
    }
    layer
}

impl Layer {
    fn add_convolution(&mut self, convolution: &Convolution, output: &TensorSpec) {
        let taps = u64::from(convolution.input.channels) / u64::from(convolution.groups)
            * u64::from(convolution.kernel_height)
            * u64::from(convolution.kernel_width);
        self.weight_bits = self.weight_bits.or(Some(convolution.weights.bits));
        self.macs += taps * elements(output);
        self.weight_bytes += u64::from(convolution.weights.codes.length);
    }
}

fn elements(tensor: &TensorSpec) -> u64 {
    u64::from(tensor.height) * u64::from(tensor.width) * u64::from(tensor.channels)
}

const fn element_bytes(storage: Storage) -> u64 {
    match storage {
        Storage::Code8 { .. } => 1,
        Storage::Value16 => 2,
        Storage::Value32 => 4,
    }
}

fn size([rows, columns]: &[u8; 2]) -> String {
    format!("{rows}x{columns}")
}

fn convolution_name(convolution: &Convolution) -> String {
    let depthwise = convolution.groups > 1 && convolution.groups == convolution.input.channels;
    let name = if depthwise { "depthwise" } else { "conv" };
    let mut text = format!(
        "{name} {}x{}",
        convolution.kernel_height, convolution.kernel_width
    );
    if convolution.stride_y > 1 || convolution.stride_x > 1 {
        text.push_str(&format!("/{}", convolution.stride_y));
    }
    text
}
