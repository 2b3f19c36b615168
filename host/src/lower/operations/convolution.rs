//! Convolutions and linear layers with what is added before their only rounding.

use lowbit_runtime::format::{
    Blob, Convolution, Kind, Requantize, Residual, Scratch, Storage, TensorSpec, Weights,
};
use lowbit_runtime::kernels::fastest_layout;

use super::{Builder, FIXED, LARGEST_ACCUMULATOR, Room, Site, Target, calibration, forms, numbers};
use crate::graph::NodeId;
use crate::lower::affine::Affine;
use crate::lower::arena::Block;
use crate::lower::error::narrow;
use crate::lower::pattern::{Branch, Shortcut, Term, WHOLE_IMAGE, Weighted};
use crate::lower::{CalibratedLayer, Error, Options, scratch};

impl Builder<'_> {
    pub(super) fn conv(
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
        let statistics = affine.statistics.filter(|_| options.calibration);
        let references =
            statistics.and_then(|found| calibration::references(body.name, &found, bound));
        let room = Room {
            headroom: u8::from(references.is_some()),
            ..FIXED
        };
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
            self.requantize(body.name, &gains, &offsets, room, target)?;
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
        if let Some(references) = references {
            self.operations.calibration.push(CalibratedLayer {
                step: self.operations.steps.len(),
                references,
                fast: false,
            });
        }
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
        let mut convolution = Convolution {
            input: input.spec,
            kernel_height: narrow(name, "its kernel's height", kernel[0], 255)?,
            kernel_width: narrow(name, "its kernel's width", kernel[1], 255)?,
            stride_y: narrow(name, "its stride", stride, 255)?,
            stride_x: narrow(name, "its stride", stride, 255)?,
            pad_top: narrow(name, "its padding", padding.top, 255)?,
            pad_left: narrow(name, "its padding", padding.left, 255)?,
            groups: narrow(name, "its number of groups", groups, 65535)?,
            weights: Weights::default(),
        };
        let layout = fastest_layout(&convolution, codes.bits);
        convolution.weights = codes.write(layout, &mut self.operations.blobs);
        Ok((convolution, affine, largest * input.largest))
    }

    fn requantize(
        &mut self,
        name: &str,
        gains: &[Vec<f64>],
        offsets: &[f64],
        room: Room,
        target: &Target,
    ) -> Result<(Requantize, Blob), Error> {
        let forms = forms(name, gains, offsets, room)?;
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

    fn add_scratch(&mut self, kind: &mut Kind, output: &TensorSpec, options: &Options) {
        let step = self.operations.steps.len();
        let bytes = scratch::bytes(kind, output, options.tile_rows);
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
