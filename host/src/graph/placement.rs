//! Where a graph's tensors are and which operators compute it.

use candle_core::{Device, Result, Tensor};

use super::{Graph, Op};

/// Numbers that products of matrices are taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// `f32`.
    #[default]
    Single,
    /// Inputs and weights of convolutions and linear layers are rounded to `bf16`, and so are
    /// their results; everything else stays `f32`.
    BFloat16,
}

/// Which operators compute a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operators {
    /// Loops over slices in main memory, tuned for this machine's processor.
    #[default]
    Tuned,
    /// Chains of candle's tensor operations, which run on every device candle knows.
    Composed(Precision),
}

/// Where a graph's tensors are and which operators compute it. No part of the network itself: a
/// file does not hold it.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Memory and processor.
    pub device: Device,
    /// What computes there.
    pub operators: Operators,
}

/// Main memory and the tuned operators.
impl Default for Placement {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            operators: Operators::Tuned,
        }
    }
}

impl Placement {
    /// candle's operations on `device`.
    #[must_use]
    pub fn composed(device: Device, precision: Precision) -> Self {
        Self {
            device,
            operators: Operators::Composed(precision),
        }
    }

    /// The same with products of `f32`, for a network whose values mean codes.
    #[must_use]
    pub fn in_single_precision(&self) -> Self {
        match self.operators {
            Operators::Tuned => self.clone(),
            Operators::Composed(_) => Self::composed(self.device.clone(), Precision::Single),
        }
    }
}

impl Graph {
    /// The same network elsewhere. Tensors that are there already are shared.
    ///
    /// # Errors
    /// If the device has no room for them.
    pub fn placed(&self, placement: &Placement) -> Result<Self> {
        let mut graph = self.clone();
        graph.placement = placement.clone();
        let go = |tensor: &mut Tensor| -> Result<()> {
            *tensor = tensor.to_device(&placement.device)?;
            Ok(())
        };
        for (_, tensor) in graph.parameters_mut() {
            go(tensor)?;
        }
        for node in &mut graph.nodes {
            if let Op::BatchNorm(norm) = &mut node.op {
                go(&mut norm.running_mean)?;
                go(&mut norm.running_var)?;
            }
        }
        Ok(graph)
    }
}
