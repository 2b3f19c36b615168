//! One image on both sides.

use lowbit_runtime::format::CHECKSUM;
use serde::{Deserialize, Serialize};

use super::Difference;
use crate::accuracy::{rank, top_class};
use crate::board::Inference;
use crate::data::Dataset;

/// What board and host made of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// CRC-32 (ISO-HDLC) of the image, by which it is known again.
    pub pixels_crc32: u32,
    /// Its class.
    pub label: u16,
    /// The board's answer.
    pub answer: u16,
    /// The [`rank`] of the label on the host, 0 if it is right.
    pub host_rank: u16,
    /// The [`rank`] of the label on the board.
    pub board_rank: u16,
    /// Whether all results are equal.
    pub equal: bool,
    /// Duration on the board, in its unit.
    pub ticks: u64,
    /// Where they differ; only looked for in the first image that does.
    pub difference: Option<Difference>,
}

impl Comparison {
    /// Of image `index` and its logits on the host.
    pub(super) fn new(images: &Dataset, index: usize, host: &[i32], board: &Inference) -> Self {
        let label = images.labels[index];
        Self {
            pixels_crc32: CHECKSUM.checksum(images.image(index)),
            label,
            answer: top_class(&board.logits),
            host_rank: rank(host, label),
            board_rank: rank(&board.logits, label),
            equal: host == board.logits,
            ticks: board.ticks,
            difference: None,
        }
    }

    /// Whether it is about image `index`.
    pub(super) fn is_of(&self, images: &Dataset, index: usize) -> bool {
        self.label == images.labels[index]
            && self.pixels_crc32 == CHECKSUM.checksum(images.image(index))
    }
}
