//! Pixels to integer values by table.

use super::elements::ElementsMut;
use super::parameters::element;

/// `output[i] = table[pixels[i] * channels + channel]`, channels last; `table` holds
/// `256 * channels` numbers of type `i16`.
pub fn run(pixels: &[u8], table: &[u8], channels: usize, output: &mut ElementsMut<'_>) {
    let pixel_starts = (0..).step_by(channels.max(1));
    for (start, pixel) in pixel_starts.zip(pixels.chunks_exact(channels.max(1))) {
        for (channel, &value) in pixel.iter().enumerate() {
            let entry = usize::from(value) * channels + channel;
            let value = i16::from_le_bytes(element(table, entry));
            output.set(start + channel, value.into());
        }
    }
}
