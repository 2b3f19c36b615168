//! Where a quantized copy of a network has quantizers for activations.

use super::{Graph, NodeId, Op, ShapeError, infer_shapes};

/// Why a quantizer stands behind a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantizer {
    /// The node is a ReLU or ReLU6.
    Activation,
    /// The node has no activation function, but a layer with weights or a sum reads it, which on a
    /// board needs integers: a linear bottleneck, or a pool in front of a hidden layer.
    Linear,
}

impl Graph {
    /// The quantizer behind each node, in the order of the nodes.
    #[must_use]
    pub fn quantizers(&self) -> Vec<Option<Quantizer>> {
        let is_activation = |op: &Op| matches!(op, Op::Relu | Op::Relu6);
        let mut quantizers: Vec<Option<Quantizer>> = self
            .nodes
            .iter()
            .map(|node| is_activation(&node.op).then_some(Quantizer::Activation))
            .collect();
        for index in 0..self.nodes.len() {
            let is_last = index + 1 == self.nodes.len();
            for &input in &self.nodes[index].inputs {
                let place = match &self.nodes[index].op {
                    Op::Conv2d(_) => self.needs_quantizer(&quantizers, input, true),
                    Op::Linear(_) => self.needs_quantizer(&quantizers, input, !is_last),
                    Op::MaxPool { .. }
                    | Op::AveragePool { .. }
                    | Op::GlobalAveragePool
                    | Op::SubsamplePad { .. } => self.needs_quantizer(&quantizers, input, true),
                    Op::Add => self.added(&quantizers, input),
                    _ => None,
                };
                if let Some(NodeId(place)) = place {
                    quantizers[place] = Some(Quantizer::Linear);
                }
            }
        }
        quantizers
    }

    /// About how many bytes of memory the activations of one image take on a board: one byte for
    /// each integer that is needed at the same time.
    ///
    /// # Errors
    /// If the graph does not fit together.
    pub fn activation_bytes(&self) -> Result<usize, ShapeError> {
        let shapes = infer_shapes(self)?;
        let quantizers = self.quantizers();
        let is_stored = |index: usize| {
            let pool = matches!(
                self.nodes[index].op,
                Op::Input | Op::MaxPool { .. } | Op::AveragePool { .. } | Op::GlobalAveragePool
            );
            pool || quantizers[index].is_some() || index + 1 == self.nodes.len()
        };
        // Nodes in memory that each node is computed from, and the last that needs each of them.
        let mut sources: Vec<Vec<usize>> = Vec::with_capacity(self.nodes.len());
        let mut last_uses: Vec<usize> = (0..self.nodes.len()).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            let read = node.inputs.iter().flat_map(|input| &sources[input.0]);
            let mut read: Vec<usize> = read.copied().collect();
            read.iter().for_each(|&source| last_uses[source] = index);
            if is_stored(index) {
                read = vec![index];
            }
            read.dedup();
            sources.push(read);
        }
        let needed = |step: usize| {
            let live = (0..=step).filter(|&index| is_stored(index) && last_uses[index] >= step);
            live.map(|index| shapes[index].elements()).sum()
        };
        let steps = (0..self.nodes.len()).filter(|&step| is_stored(step));
        Ok(steps.map(needed).max().unwrap_or(0))
    }

    /// The node whose value has to become integers so that `reader` can be one operation on them,
    /// if it is not already. Averages stay sums of integers, which the classifier reads as they
    /// are, and hidden layers (`hidden`) do not.
    fn needs_quantizer(
        &self,
        quantizers: &[Option<Quantizer>],
        reader: NodeId,
        hidden: bool,
    ) -> Option<NodeId> {
        let mut id = reader;
        loop {
            let node = &self.nodes[id.0];
            match node.op {
                _ if quantizers[id.0].is_some() => return None,
                Op::Input => return None,
                Op::Flatten | Op::MaxPool { .. } => id = *node.inputs.first()?,
                Op::AveragePool { .. } | Op::GlobalAveragePool if !hidden => {
                    return None;
                }
                _ => return Some(id),
            }
        }
    }

    /// The same for a term of a sum, which may be a layer with weights itself.
    fn added(&self, quantizers: &[Option<Quantizer>], term: NodeId) -> Option<NodeId> {
        let node = &self.nodes[term.0];
        let below = node.inputs.first().map(|input| &self.nodes[input.0].op);
        let weighted = |op: &Op| matches!(op, Op::Conv2d(_) | Op::Linear(_));
        let is_layer = match &node.op {
            Op::BatchNorm(_) => below.is_some_and(weighted),
            op => weighted(op) || matches!(op, Op::SubsamplePad { .. }),
        };
        if is_layer {
            return None;
        }
        self.needs_quantizer(quantizers, term, true)
    }
}
