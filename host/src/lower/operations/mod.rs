//! One integer operation per layer. Offsets of tensors are block numbers until they are placed.

mod calibration;
mod convolution;
mod logits;
mod pools;
mod sum;

use lowbit_runtime::format::{Kind, Storage, TensorSpec};

use super::arena::Block;
use super::error::narrow;
use super::input_table::InputTable;
use super::pattern::{Bounds, Branch, Layer, Term, WHOLE_IMAGE, Weighted};
use super::requantize::{FixedPoint, Room, fixed_point};
use super::weights::{Codes, Taps};
use super::{Blobs, CalibratedLayer, Error, Options, Step};
use crate::dfq::quantizer::LinearQuantizer;
use crate::graph::{ActivationRange, NodeId, QuantizedGraph, Shape, infer_shapes};

/// Sizes of accumulators are below this, but for those of the classifier.
const LARGEST_ACCUMULATOR: u64 = 1 << 31;
/// For parameters that never change.
const FIXED: Room = Room {
    accumulator: LARGEST_ACCUMULATOR,
    headroom: 0,
};

/// Steps whose tensors have block numbers for offsets.
pub(super) struct Operations {
    pub(super) steps: Vec<Step>,
    /// Block 0 is that of the pixels.
    pub(super) blocks: Vec<Block>,
    pub(super) blobs: Blobs,
    pub(super) calibration: Vec<CalibratedLayer>,
}

/// A value that the board holds as integers.
#[derive(Debug, Clone, Copy)]
struct Site {
    node: NodeId,
    spec: TensorSpec,
    /// Integers per real unit.
    scale: f64,
    /// Largest size of an integer.
    largest: u64,
}

impl Site {
    /// Rows and columns of `window`.
    fn window(&self, window: [usize; 2]) -> [usize; 2] {
        if window == WHOLE_IMAGE {
            [self.spec.height, self.spec.width].map(usize::from)
        } else {
            window
        }
    }
}

pub(super) fn build(
    network: &QuantizedGraph,
    layers: &[(NodeId, Layer<'_>)],
    options: &Options,
) -> Result<Operations, Error> {
    let shapes = infer_shapes(&network.graph)
        .map_err(|error| Error::unsupported(&network.graph.name, error.to_string()))?;
    let pixels = network.graph.input_shape.iter().product();
    let mut builder = Builder {
        network,
        shapes,
        last_uses: last_uses(layers),
        sites: Vec::new(),
        operations: Operations {
            steps: Vec::new(),
            blocks: vec![Block {
                bytes: pixels,
                first_step: 0,
                last_step: 0,
            }],
            blobs: Blobs::default(),
            calibration: Vec::new(),
        },
    };
    for (node, layer) in layers {
        builder.layer(*node, layer, options)?;
    }
    Ok(builder.operations)
}

/// For every site the last step that reads it.
fn last_uses(layers: &[(NodeId, Layer<'_>)]) -> Vec<(NodeId, usize)> {
    let term = |term: &Term<'_>| match term {
        Term::Branch(branch) => branch.input,
        Term::Shortcut(shortcut) => shortcut.input,
    };
    let mut uses = Vec::new();
    for (step, (_, layer)) in layers.iter().enumerate() {
        match layer {
            Layer::Input => {}
            Layer::Sum { left, right, .. } => {
                uses.push((term(left), step));
                uses.extend(right.as_ref().map(|right| (term(right), step)));
            }
            Layer::MaxPool { input, .. }
            | Layer::SumPool { input, .. }
            | Layer::AveragePool { input, .. } => uses.push((*input, step)),
            Layer::Logits { branch } => uses.push((branch.input, step)),
        }
    }
    uses
}

struct Builder<'a> {
    network: &'a QuantizedGraph,
    shapes: Vec<Shape>,
    last_uses: Vec<(NodeId, usize)>,
    sites: Vec<Site>,
    operations: Operations,
}

/// Quantizer of a site with the ends of its integers.
struct Target {
    scale: f64,
    bits: u8,
    zero_point: i32,
    low: i32,
    high: i32,
}

impl Target {
    fn new(name: &str, range: &ActivationRange, bounds: Bounds) -> Result<Self, Error> {
        let quantizer = LinearQuantizer::new(range).map_err(|source| Error::Quantizer {
            node: name.to_owned(),
            source,
        })?;
        if quantizer.zero_point.abs() > f32::from(i16::MAX) {
            let what = format!("its range {range:?} is too far from 0 for its width");
            return Err(Error::unsupported(name, what));
        }
        let (scale, zero_point) = (f64::from(quantizer.scale), quantizer.zero_point as i32);
        let highest = zero_point + (1 << range.bits) - 1;
        let low = if bounds == Bounds::None {
            zero_point
        } else {
            zero_point.max(0)
        };
        let high = match bounds {
            Bounds::Relu6 => highest.min((6.0 * scale + 0.5).floor() as i32),
            Bounds::None | Bounds::Relu => highest,
        };
        Ok(Self {
            scale,
            bits: range.bits,
            zero_point,
            low,
            high: high.max(low),
        })
    }

    fn largest(&self) -> u64 {
        u64::from(self.low.unsigned_abs().max(self.high.unsigned_abs()))
    }
}

impl Builder<'_> {
    fn layer(&mut self, node: NodeId, layer: &Layer<'_>, options: &Options) -> Result<(), Error> {
        let name = self.network.graph.nodes[node.0].name.as_str();
        match layer {
            Layer::Input => self.input(node, name, options),
            Layer::Sum {
                left,
                right,
                bounds,
                range,
            } => {
                let target = Target::new(name, range, *bounds)?;
                self.sum(node, name, left, right.as_ref(), &target, options)
            }
            Layer::MaxPool {
                input,
                window,
                stride,
                padding,
            } => {
                let input = self.site(*input);
                let output = self.spec(node, name, input.spec.storage, input.spec.zero_point)?;
                let kind = Kind::MaxPool {
                    input: input.spec,
                    window: bytes(name, "its window", *window)?,
                    stride: bytes(name, "its stride", *stride)?,
                    padding: bytes(name, "its padding", *padding)?,
                };
                self.push(
                    name,
                    kind,
                    Site {
                        node,
                        spec: output,
                        ..input
                    },
                );
                Ok(())
            }
            Layer::SumPool {
                input,
                window,
                stride,
            } => self.sum_pool(node, name, *input, *window, *stride),
            Layer::AveragePool {
                input,
                window,
                stride,
                range,
            } => {
                let target = Target::new(name, range, Bounds::None)?;
                self.average_pool(node, name, *input, (*window, *stride), &target)
            }
            Layer::Logits { branch } => self.logits(node, branch),
        }
    }

    fn input(&mut self, node: NodeId, name: &str, options: &Options) -> Result<(), Error> {
        let table = InputTable::new(&self.network.graph.normalization, options.input_bits);
        let entries = table
            .entries
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect::<Vec<_>>();
        let blob = self.operations.blobs.push(&entries);
        let spec = self.spec(node, name, Storage::Value16, 0)?;
        let largest = table
            .entries
            .iter()
            .map(|entry| u64::from(entry.unsigned_abs()))
            .max();
        let site = Site {
            node,
            spec,
            scale: table.scale,
            largest: largest.unwrap_or(0),
        };
        self.push(
            name,
            Kind::InputTable {
                pixels: 0,
                table: blob,
            },
            site,
        );
        Ok(())
    }

    fn codes(&self, branch: &Branch<'_>, input: &Site) -> Result<Codes, Error> {
        let bits = self
            .network
            .weight_bits
            .get(branch.node.0)
            .copied()
            .flatten();
        let bits = bits.ok_or_else(|| {
            Error::unsupported(branch.name, "its weights have no width; give it one")
        })?;
        let dims = branch.weighted.weight().dims();
        let taps = match branch.weighted {
            Weighted::Conv(_) => Taps {
                channels: dims[1],
                area: dims[2..].iter().product(),
            },
            Weighted::Linear(_) => {
                let channels = usize::from(input.spec.channels);
                Taps {
                    channels,
                    area: dims[1] / channels,
                }
            }
        };
        let ranges = self.network.weight_ranges.get(&branch.node);
        Codes::new(branch.name, branch.weighted.weight(), bits, ranges, taps)
    }

    /// A new tensor with the shape of `node`, in a block of its own.
    fn spec(
        &mut self,
        node: NodeId,
        name: &str,
        storage: Storage,
        zero_point: i32,
    ) -> Result<TensorSpec, Error> {
        let [channels, height, width] = match self.shapes[node.0] {
            Shape::Image(sizes) => sizes,
            Shape::Flat(size) => [size, 1, 1],
        };
        let step = self.operations.steps.len();
        let elements = channels * height * width;
        let bytes = elements * storage.bytes();
        self.operations.blocks.push(Block {
            bytes,
            first_step: step,
            last_step: step,
        });
        Ok(TensorSpec {
            offset: (self.operations.blocks.len() - 1) as u32,
            height: narrow(name, "its height", height, 65535)?,
            width: narrow(name, "its width", width, 65535)?,
            channels: narrow(name, "its number of channels", channels, 65535)?,
            storage,
            zero_point,
        })
    }

    fn site(&mut self, node: NodeId) -> Site {
        let step = self.operations.steps.len();
        let found = self
            .sites
            .iter()
            .rev()
            .find(|site| site.node == node)
            .copied();
        // The matcher only names sites of earlier layers.
        let site = found.unwrap_or(self.sites[0]);
        self.operations.blocks[site.spec.offset as usize].last_step = step;
        site
    }

    fn push(&mut self, name: &str, kind: Kind, site: Site) {
        let step = self.operations.steps.len();
        let block = &mut self.operations.blocks[site.spec.offset as usize];
        block.last_step = block.last_step.max(step);
        self.operations.steps.push(Step {
            name: name.to_owned(),
            kind,
            output: site.spec,
        });
        self.sites.push(site);
    }
}

fn forms(
    layer: &str,
    gains: &[Vec<f64>],
    offsets: &[f64],
    room: Room,
) -> Result<Vec<FixedPoint>, Error> {
    let channels = gains.iter().zip(offsets).enumerate();
    channels
        .map(|(channel, (gains, offset))| fixed(layer, channel, gains, *offset, room))
        .collect()
}

fn fixed(
    layer: &str,
    channel: usize,
    gains: &[f64],
    offset: f64,
    room: Room,
) -> Result<FixedPoint, Error> {
    fixed_point(gains, offset, room).ok_or_else(|| Error::FixedPoint {
        layer: layer.to_owned(),
        channel,
        gain: gains[0],
        offset,
    })
}

fn numbers<const N: usize>(
    forms: &[FixedPoint],
    bytes: impl Fn(&FixedPoint) -> [u8; N],
) -> Vec<u8> {
    forms.iter().flat_map(bytes).collect()
}

fn bytes(layer: &str, what: &'static str, pair: [usize; 2]) -> Result<[u8; 2], Error> {
    Ok([
        narrow(layer, what, pair[0], 255)?,
        narrow(layer, what, pair[1], 255)?,
    ])
}
