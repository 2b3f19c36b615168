//! Why a network cannot be lowered.

/// Names the layer and what would help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A width that the input table cannot have.
    #[error("{0} bits asked for the input table; its entries have 2 to 16")]
    InputBits(u8),
    /// A node that no integer operation computes.
    #[error("node `{node}`: {what}")]
    Unsupported {
        /// Name of the node.
        node: String,
        /// What is in the way, and what would help.
        what: String,
    },
    /// A weight or range that cannot be quantized.
    #[error("node `{node}`: {source}")]
    Quantizer {
        /// Name of the node.
        node: String,
        /// The quantizer's reason.
        source: crate::dfq::Error,
    },
    /// The tensor library refused.
    #[error("node `{node}`: {source}")]
    Tensor {
        /// Name of the node.
        node: String,
        /// Its reason.
        source: candle_core::Error,
    },
    /// A sum of products that 32 bits cannot hold.
    #[error(
        "layer `{layer}`: its accumulator can reach {bound}, beyond 2^31; use fewer bits for its \
         weights or activations"
    )]
    Accumulator {
        /// Name of the layer.
        layer: String,
        /// Largest possible size.
        bound: u64,
    },
    /// A multiplier or bias that the fixed-point form cannot hold.
    #[error(
        "layer `{layer}`, channel {channel}: gain {gain:e} and offset {offset:e} have no \
         fixed-point form; its BatchNorm statistics or ranges are degenerate"
    )]
    FixedPoint {
        /// Name of the layer.
        layer: String,
        /// Output channel.
        channel: usize,
        /// Output codes per unit of the accumulator.
        gain: f64,
        /// Output code of an accumulator of 0.
        offset: f64,
    },
    /// A size that the packed format cannot hold.
    #[error("layer `{layer}`: {what} is {found}, the packed format holds at most {most}")]
    Size {
        /// Name of the layer.
        layer: String,
        /// Which size.
        what: &'static str,
        /// What it is.
        found: u64,
        /// What fits.
        most: u64,
    },
}

impl Error {
    pub(super) fn unsupported(node: &str, what: impl Into<String>) -> Self {
        Self::Unsupported {
            node: node.to_owned(),
            what: what.into(),
        }
    }
}

/// Narrows a size to the format's type.
pub(super) fn narrow<T: TryFrom<u64>>(
    layer: &str,
    what: &'static str,
    found: usize,
    most: u64,
) -> Result<T, Error> {
    let size = Error::Size {
        layer: layer.to_owned(),
        what,
        found: found as u64,
        most,
    };
    T::try_from(found as u64).map_err(|_| size)
}
