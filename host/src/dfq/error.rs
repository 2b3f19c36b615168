//! What can go wrong while a network is quantized without data.

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong while a network is quantized without data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A width that no quantizer has.
    #[error("{0} bits asked for, quantizers have 2 to 8")]
    Bits(u8),
    /// A text that names no widths.
    #[error("bit widths `{0}` are not of the form `w4a4`, with 2 to 8 for each")]
    BitsText(String),
    /// A name that no preset has.
    #[error("there is no preset `{name}`, the presets are {known}")]
    Preset {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A setting outside its range.
    #[error("setting `{name}` has to be {expected}")]
    Setting {
        /// Its name in the configuration.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// A weight with a NaN or an infinity.
    #[error(
        "output channel {channel} of a weight of shape {shape:?} has a value that is not finite"
    )]
    WeightNotFinite {
        /// Output channel.
        channel: usize,
        /// Shape of the weight.
        shape: Vec<usize>,
    },
    /// A range whose ends are no numbers or in the wrong order.
    #[error("activation range {min} to {max} is not a range")]
    Range {
        /// Lower end.
        min: f32,
        /// Upper end.
        max: f32,
    },
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}
