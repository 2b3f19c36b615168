//! Where a board and the host part.

use serde::{Deserialize, Serialize};

use crate::board::{Client, Error};
use crate::integer::{self, IntegerNetwork};

/// Where board and host differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Index of the image.
    pub image: usize,
    /// Name of the layer.
    pub layer: String,
    /// The first element that differs; `None` if a second run of the layer showed no difference.
    pub element: Option<integer::Difference>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "image {}, layer `{}`, ", self.image, self.layer)?;
        match &self.element {
            Some(element) => write!(
                formatter,
                "channel {}, y {}, x {}: host {}, board {}",
                element.channel, element.y, element.x, element.host, element.device
            ),
            None => formatter.write_str("gone when run again: the board is not reliable"),
        }
    }
}

/// Index of the first digest that differs.
pub(super) fn first(host: &[u32], board: &[u32]) -> Option<usize> {
    let differing = host
        .iter()
        .zip(board)
        .position(|(host, board)| host != board);
    differing.or_else(|| (host.len() != board.len()).then_some(host.len().min(board.len())))
}

/// Names the first layer whose output differs, and the first element in it. `differing` is that
/// layer's index, if it is known; `digests` are the host's.
pub(super) fn locate(
    client: &mut Client,
    host: &IntegerNetwork<'_>,
    (image, pixels): (usize, &[u8]),
    digests: &[u32],
    differing: Option<usize>,
) -> Result<Difference, Error> {
    let differing = match differing {
        Some(index) => Some(index),
        None => {
            let (_, found) = client.infer_with_digests(pixels)?;
            first(digests, &found)
        }
    };
    let last = digests.len().saturating_sub(1);
    let index = differing.unwrap_or(last).min(last);
    let bytes = client.read_layer(pixels, index as u16)?;
    let output = host.layer_output(pixels, index)?;
    Ok(Difference {
        image,
        element: output.as_ref().and_then(|output| output.difference(&bytes)),
        layer: output.map_or_else(|| format!("operation {index}"), |output| output.name),
    })
}
