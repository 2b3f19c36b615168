//! The loss on the outputs of residual blocks.
//!
//! ```text
//! A = (1/L) sum_l |student_l - teacher_l|^2 / |teacher_l|^2
//! ```
//! over the `L` residual blocks: what a quantizer spoils is put right where it is spoilt, and every
//! pixel of a few generated images teaches something, not only ten logits.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{
    dfq::{Result, fake_quantized::with_values},
    graph::{Graph, NodeId, Op},
    nn::executor::Forward,
};

/// Elements summed in single precision.
const CHUNK: usize = 1 << 12;

/// Where teacher and student are compared: behind the ReLU of every residual sum or, in a network
/// that has none, behind every ReLU.
pub(super) fn sites(graph: &Graph) -> Vec<NodeId> {
    let relu = |node: &&NodeId| matches!(graph.nodes[node.0].op, Op::Relu | Op::Relu6);
    let of_sum = |node: &&NodeId| {
        let read = graph.nodes[node.0].inputs.first();
        read.is_some_and(|read| matches!(graph.nodes[read.0].op, Op::Add))
    };
    let nodes: Vec<NodeId> = (0..graph.nodes.len()).map(NodeId).collect();
    let relus: Vec<NodeId> = nodes.iter().filter(relu).copied().collect();
    let sums: Vec<NodeId> = relus.iter().filter(of_sum).copied().collect();
    if sums.is_empty() { relus } else { sums }
}

/// The loss, and the gradient of `weight` times the loss with respect to the student's values.
///
/// # Errors
/// If a tensor cannot be made.
pub(super) fn loss(
    sites: &[NodeId],
    teacher: &Forward,
    student: &Forward,
    weight: f64,
) -> Result<(f64, BTreeMap<NodeId, Tensor>)> {
    let share = 1.0 / sites.len().max(1) as f64;
    let (mut sum, mut gradients) = (0.0, BTreeMap::new());
    for &site in sites {
        let (Some(p), Some(q)) = (teacher.value(site), student.value(site)) else {
            continue;
        };
        let (distance, gradient) =
            with_values(p, |p| with_values(q, |q| relative_distance(p, q)))??;
        sum += share * distance;
        let factor = weight * share;
        let gradient = gradient.iter().map(|g| (factor * f64::from(*g)) as f32);
        let gradient = Tensor::from_vec(gradient.collect(), q.shape(), q.device())?;
        gradients.insert(site, gradient);
    }
    Ok((sum, gradients))
}

/// `|q - p|^2 / |p|^2` and its gradient with respect to `q`.
fn relative_distance(p: &[f32], q: &[f32]) -> (f64, Vec<f32>) {
    let norm = p
        .chunks(CHUNK)
        .map(|p| p.iter().map(|p| p * p).sum::<f32>());
    let norm = norm.map(f64::from).sum::<f64>().max(f64::MIN_POSITIVE);
    let distance = p.chunks(CHUNK).zip(q.chunks(CHUNK)).map(|(p, q)| {
        let squares = p.iter().zip(q).map(|(p, q)| (q - p) * (q - p));
        f64::from(squares.sum::<f32>())
    });
    let distance = distance.sum::<f64>() / norm;
    let factor = (2.0 / norm) as f32;
    let gradient = p.iter().zip(q).map(|(p, q)| factor * (q - p));
    (distance, gradient.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_relative_and_its_gradient_that_of_finite_differences() {
        let p = [1.0, -2.0, 0.5, 0.0];
        let q = [1.5, -1.0, 0.5, 0.25];
        let (distance, gradient) = relative_distance(&p, &q);
        assert!((distance - (0.25 + 1.0 + 0.0625) / 5.25).abs() < 1e-7);
        for index in 0..q.len() {
            let moved = |step: f32| {
                let mut q = q;
                q[index] += step;
                relative_distance(&p, &q).0
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient[index])).abs() < 1e-4);
        }
    }
}
