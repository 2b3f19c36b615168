//! Activations that an iteration leaves unquantized (QDrop: Wei et al., QDrop: Randomly Dropping
//! Quantization for Extremely Low-bit Post-Training Quantization, ICLR 2022).
//!
//! Of every quantized activation a random share of the elements keeps its real value. Weights that
//! suit all these mixtures lie in a flatter part of the loss than weights that were fitted to one
//! rounding of the pool's images, which are not the images that the network will see.

use candle_core::Tensor;

use crate::{
    dfq::{Result, fake_quantized::with_values, quantizer::LinearQuantizer},
    graph::NodeId,
};

/// Elements that share a random number, a byte of it each.
const GROUP: usize = 8;

/// Which elements keep their real values, in one iteration: the same for everyone who asks, so
/// that no mask has to be kept for the backward pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropped {
    /// Of 256 elements.
    share: u16,
    seed: u64,
}

impl Dropped {
    /// A share of the elements from 0 to 1, in steps of 1/256.
    pub(super) fn new(share: f64, seed: u64) -> Self {
        Self {
            share: (share * 256.0).round() as u16,
            seed,
        }
    }

    /// What `quantizer` makes of `value`, the output of `node`, but for the elements left out.
    ///
    /// # Errors
    /// If `value` is not of type `f32`.
    pub(super) fn quantized(
        self,
        node: NodeId,
        value: &Tensor,
        quantizer: &LinearQuantizer,
    ) -> Result<Tensor> {
        let quantized = with_values(value, |values| {
            let mut quantized = quantizer.fake_quantized(values);
            self.exchange(node, &mut quantized, values);
            quantized
        })?;
        Ok(Tensor::from_vec(quantized, value.shape(), value.device())?)
    }

    /// Takes the elements of the output of `node` that are left out from `others`, which is as long
    /// as `elements`.
    pub(super) fn exchange(self, node: NodeId, elements: &mut [f32], others: &[f32]) {
        let stream = mix(self.seed ^ mix(node.0 as u64));
        let groups = elements.chunks_mut(GROUP).zip(others.chunks(GROUP));
        for (group, (elements, others)) in groups.enumerate() {
            let random = mix(stream.wrapping_add(group as u64)).to_le_bytes();
            // Every element is written: a branch that half of them take would cost more.
            for ((element, &other), byte) in elements.iter_mut().zip(others).zip(random) {
                *element = if u16::from(byte) < self.share {
                    other
                } else {
                    *element
                };
            }
        }
    }
}

/// A number that differs in half of its bits for every other input (the finaliser of SplitMix64).
fn mix(input: u64) -> u64 {
    let mut value = input.wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(share: f64, seed: u64, node: usize) -> Vec<bool> {
        let mut chosen = vec![0.0; 10_001];
        Dropped::new(share, seed).exchange(NodeId(node), &mut chosen, &[1.0; 10_001]);
        chosen.into_iter().map(|element| element > 0.0).collect()
    }

    #[test]
    fn the_share_is_kept_and_every_node_and_seed_has_its_own_choice() {
        let count = |chosen: &[bool]| chosen.iter().filter(|&&chosen| chosen).count();
        assert_eq!(count(&chosen(0.0, 1, 2)), 0);
        assert_eq!(count(&chosen(1.0, 1, 2)), 10_001);
        let half = chosen(0.5, 1, 2);
        assert!((4700..5300).contains(&count(&half)), "{}", count(&half));
        assert_eq!(half, chosen(0.5, 1, 2));
        for other in [chosen(0.5, 2, 2), chosen(0.5, 1, 3)] {
            let differing: Vec<bool> = half.iter().zip(&other).map(|(a, b)| a != b).collect();
            assert!((4700..5300).contains(&count(&differing)));
        }
    }
}
