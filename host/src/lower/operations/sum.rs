//! A quantizer behind one term or the sum of two.

use lowbit_runtime::format::{Kind, Storage};

use super::{Builder, FIXED, Site, Target, fixed};
use crate::graph::NodeId;
use crate::lower::pattern::{Shortcut, Term};
use crate::lower::{Error, Options};

impl Builder<'_> {
    pub(super) fn sum(
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
        let form = fixed(name, 0, &gains, 0.0, FIXED)?;
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
}
