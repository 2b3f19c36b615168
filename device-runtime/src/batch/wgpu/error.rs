//! What can go wrong on a GPU.

use std::string::String;

/// Why a GPU cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This build has no graphics interface for this operating system.
    #[error("no graphics interface for this operating system is compiled in: Vulkan expected")]
    NoInterface,
    /// There is neither a GPU nor a software driver.
    #[error("no GPU found: install its Vulkan driver, or software Vulkan (scripts/setup --vulkan)")]
    NoAdapter(#[source] wgpu::RequestAdapterError),
    /// No GPU of that name.
    #[error("there is no GPU `{wanted}`; there are: {available}")]
    UnknownAdapter {
        /// The name, or the part of one, that was asked for.
        wanted: String,
        /// Names of those that exist.
        available: String,
    },
    /// The GPU refuses to be opened, for example because it has less than the required limits.
    #[error("the GPU `{adapter}` cannot be used")]
    Device {
        /// Name of the GPU.
        adapter: String,
        /// What the driver said.
        source: wgpu::RequestDeviceError,
    },
    /// The GPU has no memory left, or its driver refuses a command.
    #[error("the GPU failed")]
    Command(#[source] wgpu::Error),
    /// The GPU stopped while its results were awaited, for example because its driver was restarted.
    #[error("the GPU was lost while it computed")]
    Lost,
    /// More elements than one buffer holds.
    #[error("{found} bytes of {what} do not fit into a buffer of the GPU: at most {most} expected")]
    TooLarge {
        /// What was to be stored.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The limit of the GPU.
        most: u64,
    },
    /// Parameters of a channel outside the ranges in which nothing overflows.
    #[error(
        "channel {channel}: multiplier {multiplier}, bias {bias} and shift {shift} found; sizes of \
         at most 2^30 and below 2^61, and a shift of 1 to 62 expected"
    )]
    Channel {
        /// Index of the channel.
        channel: usize,
        /// Its multiplier.
        multiplier: i32,
        /// Its bias.
        bias: i64,
        /// Its shift.
        shift: u8,
    },
    /// Elements that are not a whole number of positions.
    #[error("{elements} elements found, a multiple of {channels} channels expected")]
    Shape {
        /// Number of elements.
        elements: usize,
        /// Number of channels; 0 fits no elements at all.
        channels: usize,
    },
}
