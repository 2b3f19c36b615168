//! Sums and averages of windows.

use lowbit_runtime::format::{Kind, Storage};

use super::{Builder, FIXED, Site, Target, bytes, fixed};
use crate::graph::NodeId;
use crate::lower::Error;

impl Builder<'_> {
    pub(super) fn sum_pool(
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

    pub(super) fn average_pool(
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
        let form = fixed(name, 0, &[gain], 0.0, FIXED)?;
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
}
