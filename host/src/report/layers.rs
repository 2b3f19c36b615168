//! Weights and ranges of every layer, float and quantized.

use std::collections::BTreeMap;

use candle_core::Tensor;
use plotters::prelude::*;

use super::curves::COLOURS;
use crate::dfq::fake_quantized::with_quantized_weights;
use crate::dfq::{self};
use crate::graph::{ActivationRange, Graph, Op, QuantizedGraph};

const SIZE: (u32, u32) = (240, 130);
const BINS: usize = 48;
const GREY: RGBColor = RGBColor(0x88, 0x88, 0x88);

/// A layer with weights.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerWeights {
    /// Of its node.
    pub name: String,
    /// Of the weights.
    pub bits: u8,
    /// The float network's.
    pub float: Vec<f32>,
    /// The trained ones as their codes have them.
    pub quantized: Vec<f32>,
}

/// All layers with weights. `float` is the network that training started from; a layer it does not
/// have is compared with the trained weights before they are quantized.
///
/// # Errors
/// If a width or a range is impossible.
pub fn layer_weights(float: &Graph, student: &QuantizedGraph) -> dfq::Result<Vec<LayerWeights>> {
    let of_float: BTreeMap<&str, &Op> = float
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), &node.op))
        .collect();
    let graph = &student.graph;
    let quantized = with_quantized_weights(graph, &student.weight_bits, &student.weight_ranges)?;
    let mut layers = Vec::new();
    for ((node, trained), bits) in quantized
        .nodes
        .iter()
        .zip(&graph.nodes)
        .zip(&student.weight_bits)
    {
        let (Some(quantized), Some(bits)) = (weight(&node.op), bits) else {
            continue;
        };
        let float = of_float.get(node.name.as_str()).and_then(|op| weight(op));
        let float = float.or_else(|| weight(&trained.op)).unwrap_or(quantized);
        layers.push(LayerWeights {
            name: node.name.clone(),
            bits: *bits,
            float: float.flatten_all()?.to_vec1()?,
            quantized: quantized.flatten_all()?.to_vec1()?,
        });
    }
    Ok(layers)
}

fn weight(op: &Op) -> Option<&Tensor> {
    match op {
        Op::Conv2d(conv) => Some(&conv.weight),
        Op::Linear(linear) => Some(&linear.weight),
        _ => None,
    }
}

/// Names and ranges of all activation quantizers.
#[must_use]
pub fn activation_ranges(student: &QuantizedGraph) -> Vec<(String, ActivationRange)> {
    let nodes = student.graph.nodes.iter().zip(&student.activations);
    nodes
        .filter_map(|(node, range)| Some((node.name.clone(), (*range)?)))
        .collect()
}

impl LayerWeights {
    /// The float weights in grey behind the quantized ones.
    pub(super) fn figure(&self) -> Result<String, Box<dyn std::error::Error>> {
        let (low, high) = self.span();
        let float = self.shares(&self.float, low, high);
        let quantized = self.shares(&self.quantized, low, high);
        let top = |shares: &[f64]| shares.iter().copied().fold(1e-9, f64::max);
        let mut picture = String::new();
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(4)
            .margin_right(16)
            .x_label_area_size(24)
            .build_cartesian_2d(low..high, 0.0..1.05)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(4)
            .label_style(("sans-serif", 12))
            .draw()?;
        let width = (high - low) / BINS as f64;
        // Each has its own height: a few codes hold what many float values share.
        for (shares, style) in [
            (&float, GREY.mix(0.55).filled()),
            (&quantized, COLOURS[0].mix(0.65).filled()),
        ] {
            let greatest = top(shares);
            let bars = shares.iter().enumerate().filter(|(_, share)| **share > 0.0);
            chart.draw_series(bars.map(|(bin, share)| {
                let left = low + bin as f64 * width;
                Rectangle::new([(left, 0.0), (left + width, share / greatest)], style)
            }))?;
        }
        area.present()?;
        drop(chart);
        drop(area);
        Ok(picture)
    }

    fn span(&self) -> (f64, f64) {
        let values = self.float.iter().chain(&self.quantized);
        let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
        if low < high {
            (f64::from(low), f64::from(high))
        } else {
            (-1.0, 1.0)
        }
    }

    fn shares(&self, values: &[f32], low: f64, high: f64) -> Vec<f64> {
        let mut counts = vec![0.0; BINS];
        for &value in values {
            let bin = (f64::from(value) - low) / (high - low) * BINS as f64;
            counts[(bin as usize).min(BINS - 1)] += 1.0;
        }
        let total = values.len().max(1) as f64;
        counts.iter().map(|count| count / total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_is_in_a_bar() {
        let layer = LayerWeights {
            name: "conv1".into(),
            bits: 2,
            float: vec![-1.0, -0.5, 0.0, 0.2, 1.0],
            quantized: vec![-1.0, -0.33, 0.33, 0.33, 1.0],
        };
        assert_eq!(layer.span(), (-1.0, 1.0));
        let shares = layer.shares(&layer.float, -1.0, 1.0);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!((shares[0], shares[BINS - 1]), (0.2, 0.2));
        let picture = layer.figure().unwrap();
        assert_eq!(picture.matches("<rect").count(), 5 + 4);
        let constant = LayerWeights {
            float: vec![0.0; 3],
            quantized: vec![0.0; 3],
            ..layer
        };
        assert!(constant.figure().unwrap().contains("<rect"));
    }
}
