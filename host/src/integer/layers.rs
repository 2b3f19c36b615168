//! Results of single layers, to find the first that a device computes differently.

use std::ops::ControlFlow;

use lowbit_runtime::engine::{Observer, TensorView};
use lowbit_runtime::format::{Operation, Storage, TensorSpec};
use serde::{Deserialize, Serialize};

use super::{Error, IntegerNetwork};

/// The output of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerOutput {
    /// Name of the layer.
    pub name: String,
    /// Size and element type.
    pub spec: TensorSpec,
    /// The elements in canonical order: channels last, row major, little-endian.
    pub bytes: Vec<u8>,
}

/// The first element that differs between two outputs of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Channel.
    pub channel: usize,
    /// Row.
    pub y: usize,
    /// Column.
    pub x: usize,
    /// Integer value on the host.
    #[serde(rename = "host_value")]
    pub host: i32,
    /// Integer value on the device.
    #[serde(rename = "board_value")]
    pub device: i32,
}

impl LayerOutput {
    /// The first element, in canonical order, that `device` has otherwise. `device` is as long as
    /// [`bytes`](Self::bytes); only what both have is compared.
    #[must_use]
    pub fn difference(&self, device: &[u8]) -> Option<Difference> {
        let size = self.spec.storage.bytes();
        let host = self.bytes.chunks_exact(size);
        let mut pairs = host.zip(device.chunks_exact(size)).enumerate();
        let (index, (host, device)) = pairs.find(|(_, (host, device))| host != device)?;
        let channels = usize::from(self.spec.channels);
        let width = usize::from(self.spec.width);
        Some(Difference {
            channel: index % channels,
            y: index / channels / width,
            x: index / channels % width,
            host: self.value(host),
            device: self.value(device),
        })
    }

    fn value(&self, element: &[u8]) -> i32 {
        match (self.spec.storage, element) {
            (Storage::Code8 { .. }, [code]) => i32::from(*code) + self.spec.zero_point,
            (Storage::Value16, [low, high]) => i16::from_le_bytes([*low, *high]).into(),
            (_, [a, b, c, d]) => i32::from_le_bytes([*a, *b, *c, *d]),
            _ => 0,
        }
    }
}

/// Collects one number per operation.
struct Digests(Vec<u32>);

impl Observer for Digests {
    fn observe(&mut self, _: usize, _: &Operation<'_>, output: &TensorView<'_>) -> ControlFlow<()> {
        self.0.push(output.digest());
        ControlFlow::Continue(())
    }
}

/// Keeps the output of one operation and ends the inference there.
struct Capture {
    index: usize,
    output: Option<LayerOutput>,
}

impl Observer for Capture {
    fn observe(
        &mut self,
        index: usize,
        operation: &Operation<'_>,
        output: &TensorView<'_>,
    ) -> ControlFlow<()> {
        if index != self.index {
            return ControlFlow::Continue(());
        }
        let mut bytes = vec![0; output.canonical_bytes()];
        output.read_canonical(0, &mut bytes);
        self.output = Some(LayerOutput {
            name: operation.name.to_owned(),
            spec: *output.spec(),
            bytes,
        });
        ControlFlow::Break(())
    }
}

impl IntegerNetwork<'_> {
    /// CRC-32 of every operation's output in canonical order, for one image.
    ///
    /// # Errors
    /// If `pixels` has another size than the network's input.
    pub fn layer_digests(&self, pixels: &[u8]) -> Result<Vec<u32>, Error> {
        Ok(self.logits_and_digests(pixels)?.1)
    }

    /// The logits of one image together with its layer digests.
    ///
    /// # Errors
    /// If `pixels` has another size than the network's input.
    pub fn logits_and_digests(&self, pixels: &[u8]) -> Result<(Vec<i32>, Vec<u32>), Error> {
        let mut logits = vec![0; usize::from(self.model.header().classes)];
        let mut digests = Digests(Vec::new());
        self.run(pixels, &mut self.arena(), &mut digests, &mut logits)?;
        Ok((logits, digests.0))
    }

    /// The output of operation `index` for one image, `None` behind the last operation.
    ///
    /// # Errors
    /// If `pixels` has another size than the network's input.
    pub fn layer_output(&self, pixels: &[u8], index: usize) -> Result<Option<LayerOutput>, Error> {
        let mut capture = Capture {
            index,
            output: None,
        };
        let mut logits = vec![0; usize::from(self.model.header().classes)];
        self.run(pixels, &mut self.arena(), &mut capture, &mut logits)?;
        Ok(capture.output)
    }
}
