//! One integer operation per layer. Offsets of tensors are block numbers until they are placed.

use lowbit_runtime::format::{
    Convolution, Kind, Requantize, Residual, Scratch, Storage, TensorSpec,
};

use super::affine::Affine;
use super::arena::Block;
use super::error::narrow;
use super::input_table::InputTable;
use super::pattern::{Bounds, Branch, Layer, Shortcut, Term, WHOLE_IMAGE, Weighted};
use super::requantize::{FixedPoint, fixed_point};
use super::weights::{Codes, Taps};
use super::{Blobs, Error, Options, Step};
use crate::dfq::quantizer::LinearQuantizer;
use crate::graph::{ActivationRange, NodeId, QuantizedGraph, Shape, infer_shapes};

/// Logits are in units of 2^-16.
const LOGIT_SCALE: f64 = 65536.0;

/// Sizes of accumulators are below this, but for those of the classifier.
const LARGEST_ACCUMULATOR: u64 = 1 << 31;

/// Steps whose tensors have block numbers for offsets.
pub(super) struct Operations {
    pub(super) steps: Vec<Step>,
    /// Block 0 is that of the pixels.
    pub(super) blocks: Vec<Block>,
    pub(super) blobs: Blobs,
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

    fn sum(
        &mut self,
        node: NodeId,
        name: &str,
        left: &Term<'_>,
        right: Option<&Term<'_>>,
        target: &Target,
        options: &Options,
    ) -> Result<(), Error> {
        match (left, right) {
            (Term::Branch(body), None) => self.conv(node, body, None, target, options),
            (Term::Branch(body), Some(skip @ Term::Shortcut(_)))
            | (skip @ Term::Shortcut(_), Some(Term::Branch(body))) => {
                self.conv(node, body, Some(skip), target, options)
            }
            (first @ Term::Branch(one), Some(second @ Term::Branch(other))) => {
                // The smaller kernel is the shortcut.
                let is_larger =
                    one.weighted.weight().elem_count() >= other.weighted.weight().elem_count();
                let (body, skip) = if is_larger {
                    (one, second)
                } else {
                    (other, first)
                };
                self.conv(node, body, Some(skip), target, options)
            }
            (Term::Shortcut(left), Some(Term::Shortcut(right))) => {
                self.add(node, name, *left, *right, target)
            }
            (Term::Shortcut(_), None) => {
                let what = "a quantizer behind a value that already has one";
                Err(Error::unsupported(name, what))
            }
        }
    }

    fn conv(
        &mut self,
        node: NodeId,
        body: &Branch<'_>,
        skip: Option<&Term<'_>>,
        target: &Target,
        options: &Options,
    ) -> Result<(), Error> {
        let (convolution, affine, bound) = self.convolution(body)?;
        let affine = affine.scaled(target.scale);
        let channels = affine.gains.len();
        let mut offsets = affine.offsets;
        let mut gains = affine
            .gains
            .into_iter()
            .map(|gain| vec![gain])
            .collect::<Vec<_>>();
        let mut in_place = None;
        let mut residual = Residual::None;
        match skip {
            None => {}
            Some(Term::Shortcut(shortcut)) => {
                let input = self.site(shortcut.input);
                gains
                    .iter_mut()
                    .for_each(|gains| gains.push(target.scale / input.scale));
                residual = Residual::Identity {
                    input: input.spec,
                    stride: narrow(body.name, "the shortcut's stride", shortcut.stride, 255)?,
                    channel_offset: narrow(body.name, "its padding", shortcut.front, 65535)?,
                    multipliers: Default::default(),
                };
                in_place = Some((shortcut, input));
            }
            Some(Term::Branch(branch)) => {
                let (convolution, affine, skip_bound) = self.convolution(branch)?;
                let affine = affine.scaled(target.scale);
                for channel in 0..channels {
                    gains[channel].push(affine.gains[channel]);
                    offsets[channel] += affine.offsets[channel];
                }
                check_accumulator(branch.name, skip_bound)?;
                residual = Residual::Projection {
                    convolution,
                    multipliers: Default::default(),
                };
            }
        }
        check_accumulator(body.name, bound)?;
        let (requantize, skip_multipliers) =
            self.requantize(body.name, &gains, &offsets, target)?;
        match &mut residual {
            Residual::None => {}
            Residual::Identity { multipliers, .. } | Residual::Projection { multipliers, .. } => {
                *multipliers = skip_multipliers;
            }
        }
        let storage = Storage::Code8 { bits: target.bits };
        let mut output = self.spec(node, body.name, storage, target.zero_point)?;
        let shared =
            in_place.and_then(|(shortcut, input)| self.shared_block(shortcut, &input, &output));
        if let Some(block) = shared {
            self.operations.blocks.pop();
            output.offset = block;
        }
        let mut kind = Kind::Conv2d {
            convolution,
            requantize,
            residual,
            scratch: Scratch::default(),
        };
        self.add_scratch(&mut kind, &output, options);
        let site = Site {
            node,
            spec: output,
            scale: target.scale,
            largest: target.largest(),
        };
        self.push(body.name, kind, site);
        Ok(())
    }

    /// Block of a shortcut that nobody reads any more and that has the output's form: every element
    /// is read just before the output's element takes its place.
    fn shared_block(&self, shortcut: &Shortcut, input: &Site, output: &TensorSpec) -> Option<u32> {
        let same_form = TensorSpec {
            storage: output.storage,
            offset: output.offset,
            ..input.spec
        };
        let step = self.operations.steps.len();
        let uses = self
            .last_uses
            .iter()
            .filter(|(site, _)| *site == shortcut.input);
        let is_last = uses.clone().all(|(_, last)| *last <= step)
            && uses.filter(|(_, last)| *last == step).count() == 1;
        let fits = same_form == *output && shortcut.stride == 1 && shortcut.front == 0;
        let is_code = matches!(input.spec.storage, Storage::Code8 { .. });
        (fits && is_last && is_code).then_some(input.spec.offset)
    }

    fn add(
        &mut self,
        node: NodeId,
        name: &str,
        left: Shortcut,
        right: Shortcut,
        target: &Target,
    ) -> Result<(), Error> {
        if [left, right]
            .iter()
            .any(|shortcut| shortcut.stride != 1 || shortcut.front != 0)
        {
            let what = "a sum of two shortcuts of which one changes its shape";
            return Err(Error::unsupported(name, what));
        }
        let (left, right) = (self.site(left.input), self.site(right.input));
        let gains = [target.scale / left.scale, target.scale / right.scale];
        let form = fixed(name, 0, &gains, 0.0, LARGEST_ACCUMULATOR)?;
        let output = self.spec(
            node,
            name,
            Storage::Code8 { bits: target.bits },
            target.zero_point,
        )?;
        let kind = Kind::Add {
            left: left.spec,
            right: right.spec,
            left_multiplier: form.multipliers[0],
            right_multiplier: form.multipliers[1],
            bias: form.bias,
            shift: form.shift,
            low: target.low,
            high: target.high,
        };
        let site = Site {
            node,
            spec: output,
            scale: target.scale,
            largest: target.largest(),
        };
        self.push(name, kind, site);
        Ok(())
    }

    fn sum_pool(
        &mut self,
        node: NodeId,
        name: &str,
        input: NodeId,
        window: [usize; 2],
        stride: [usize; 2],
    ) -> Result<(), Error> {
        let input = self.site(input);
        let window = input.window(window);
        let spec = self.spec(node, name, Storage::Value32, 0)?;
        let kind = Kind::SumPool {
            input: input.spec,
            window: bytes(name, "its window", window)?,
            stride: bytes(name, "its stride", stride)?,
        };
        let area = window[0] * window[1];
        let scale = input.scale * area as f64;
        self.push(
            name,
            kind,
            Site {
                node,
                spec,
                scale,
                largest: input.largest * area as u64,
            },
        );
        Ok(())
    }

    fn average_pool(
        &mut self,
        node: NodeId,
        name: &str,
        input: NodeId,
        (window, stride): ([usize; 2], [usize; 2]),
        target: &Target,
    ) -> Result<(), Error> {
        let input = self.site(input);
        let window = input.window(window);
        let gain = target.scale / (input.scale * (window[0] * window[1]) as f64);
        let form = fixed(name, 0, &[gain], 0.0, LARGEST_ACCUMULATOR)?;
        let output = self.spec(
            node,
            name,
            Storage::Code8 { bits: target.bits },
            target.zero_point,
        )?;
        let kind = Kind::AveragePool {
            input: input.spec,
            window: bytes(name, "its window", window)?,
            stride: bytes(name, "its stride", stride)?,
            multiplier: form.multipliers[0],
            bias: form.bias,
            shift: form.shift,
            low: target.low,
            high: target.high,
        };
        let site = Site {
            node,
            spec: output,
            scale: target.scale,
            largest: target.largest(),
        };
        self.push(name, kind, site);
        Ok(())
    }

    fn logits(&mut self, node: NodeId, branch: &Branch<'_>) -> Result<(), Error> {
        let input = self.site(branch.input);
        let codes = self.codes(branch, &input)?;
        let affine = Affine::new(branch, &codes, input.scale)?.scaled(LOGIT_SCALE);
        let gains = affine
            .gains
            .iter()
            .map(|gain| vec![*gain])
            .collect::<Vec<_>>();
        let largest = codes.row_sums().into_iter().max().unwrap_or(0) * input.largest;
        let forms = forms(branch.name, &gains, &affine.offsets, largest)?;
        let blobs = &mut self.operations.blobs;
        let kind = Kind::Logits {
            input: input.spec,
            weights: codes.write(blobs),
            multipliers: blobs.push(&numbers(&forms, |form| form.multipliers[0].to_le_bytes())),
            biases: blobs.push(&numbers(&forms, |form| form.bias.to_le_bytes())),
            shifts: blobs.push(&numbers(&forms, |form| [form.shift])),
        };
        let spec = self.spec(node, branch.name, Storage::Value32, 0)?;
        self.push(
            branch.name,
            kind,
            Site {
                node,
                spec,
                scale: LOGIT_SCALE,
                largest: 0,
            },
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
        Codes::new(branch.name, branch.weighted.weight(), bits, taps)
    }

    /// The operation's convolution, its gains in real units, and the largest accumulator.
    fn convolution(&mut self, branch: &Branch<'_>) -> Result<(Convolution, Affine, u64), Error> {
        let (name, input) = (branch.name, self.site(branch.input));
        if input.spec.storage == Storage::Value32 {
            let what = "a hidden layer cannot read a pool; give the pool a range";
            return Err(Error::unsupported(name, what));
        }
        let codes = self.codes(branch, &input)?;
        let affine = Affine::new(branch, &codes, input.scale)?;
        let largest = codes.row_sums().into_iter().max().unwrap_or(0);
        let dims = branch.weighted.weight().dims();
        let (kernel, stride, padding, groups) = match branch.weighted {
            Weighted::Conv(conv) => ([dims[2], dims[3]], conv.stride, conv.padding, conv.groups),
            // A linear layer is a convolution whose kernel covers the image.
            Weighted::Linear(_) => (input.window(WHOLE_IMAGE), 1, Default::default(), 1),
        };
        let convolution = Convolution {
            input: input.spec,
            kernel_height: narrow(name, "its kernel's height", kernel[0], 255)?,
            kernel_width: narrow(name, "its kernel's width", kernel[1], 255)?,
            stride_y: narrow(name, "its stride", stride, 255)?,
            stride_x: narrow(name, "its stride", stride, 255)?,
            pad_top: narrow(name, "its padding", padding.top, 255)?,
            pad_left: narrow(name, "its padding", padding.left, 255)?,
            groups: narrow(name, "its number of groups", groups, 65535)?,
            weights: codes.write(&mut self.operations.blobs),
        };
        Ok((convolution, affine, largest * input.largest))
    }

    fn requantize(
        &mut self,
        name: &str,
        gains: &[Vec<f64>],
        offsets: &[f64],
        target: &Target,
    ) -> Result<(Requantize, lowbit_runtime::format::Blob), Error> {
        let forms = forms(name, gains, offsets, LARGEST_ACCUMULATOR)?;
        let blobs = &mut self.operations.blobs;
        let requantize = Requantize {
            multipliers: blobs.push(&numbers(&forms, |form| form.multipliers[0].to_le_bytes())),
            biases: blobs.push(&numbers(&forms, |form| form.bias.to_le_bytes())),
            shifts: blobs.push(&numbers(&forms, |form| [form.shift])),
            low: target.low,
            high: target.high,
        };
        let skip = if gains.iter().any(|gains| gains.len() > 1) {
            blobs.push(&numbers(&forms, |form| form.multipliers[1].to_le_bytes()))
        } else {
            Default::default()
        };
        Ok((requantize, skip))
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

    fn add_scratch(&mut self, kind: &mut Kind, output: &TensorSpec, options: &Options) {
        let step = self.operations.steps.len();
        let positions = u32::from(output.height) * u32::from(output.width);
        let positions = positions.min(options.tile_positions.max(1));
        let bytes = lowbit_runtime::kernels::scratch_bytes(kind, positions);
        let block = self.operations.blocks.len() as u32;
        self.operations.blocks.push(Block {
            bytes: bytes as usize,
            first_step: step,
            last_step: step,
        });
        if let Kind::Conv2d { scratch, .. } = kind {
            *scratch = Scratch {
                offset: block,
                length: bytes as u32,
            };
        }
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

fn check_accumulator(layer: &str, bound: u64) -> Result<(), Error> {
    if bound < LARGEST_ACCUMULATOR {
        return Ok(());
    }
    Err(Error::Accumulator {
        layer: layer.to_owned(),
        bound,
    })
}

fn forms(
    layer: &str,
    gains: &[Vec<f64>],
    offsets: &[f64],
    largest_accumulator: u64,
) -> Result<Vec<FixedPoint>, Error> {
    let channels = gains.iter().zip(offsets).enumerate();
    channels
        .map(|(channel, (gains, offset))| {
            fixed(layer, channel, gains, *offset, largest_accumulator)
        })
        .collect()
}

fn fixed(
    layer: &str,
    channel: usize,
    gains: &[f64],
    offset: f64,
    largest_accumulator: u64,
) -> Result<FixedPoint, Error> {
    fixed_point(gains, offset, largest_accumulator).ok_or_else(|| Error::FixedPoint {
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
