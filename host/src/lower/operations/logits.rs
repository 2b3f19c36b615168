//! The classifier.

use lowbit_runtime::format::{Kind, Layout, Storage};

use super::{Builder, Room, Site, forms, numbers};
use crate::graph::NodeId;
use crate::lower::Error;
use crate::lower::affine::Affine;
use crate::lower::pattern::Branch;

/// Logits are in units of 2^-16.
const LOGIT_SCALE: f64 = 65536.0;

impl Builder<'_> {
    pub(super) fn logits(&mut self, node: NodeId, branch: &Branch<'_>) -> Result<(), Error> {
        let input = self.site(branch.input);
        let codes = self.codes(branch, &input)?;
        let affine = Affine::new(branch, &codes, input.scale)?.scaled(LOGIT_SCALE);
        let gains = affine
            .gains
            .iter()
            .map(|gain| vec![*gain])
            .collect::<Vec<_>>();
        let room = Room {
            accumulator: codes.row_sums().into_iter().max().unwrap_or(0) * input.largest,
            headroom: 0,
        };
        let forms = forms(branch.name, &gains, &affine.offsets, room)?;
        let blobs = &mut self.operations.blobs;
        let kind = Kind::Logits {
            input: input.spec,
            weights: codes.write(Layout::Rows, blobs),
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
}
