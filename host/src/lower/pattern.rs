//! Which nodes of a graph one integer operation computes.
//!
//! A *site* is a node whose value the board holds as integers: the input, what a quantizer stands
//! behind, and pools of sites. Everything between two sites is folded into the operation that
//! computes the second: `site -> conv -> BatchNorm -> (+ shortcut) -> ReLU -> quantizer`.

use candle_core::Tensor;

use super::Error;
use crate::graph::{ActivationRange, BatchNorm, Conv2d, Linear, Node, NodeId, Op, QuantizedGraph};

/// Window of a pool over all rows and columns of its input, whatever their number.
pub(super) const WHOLE_IMAGE: [usize; 2] = [0, 0];

/// A layer with weights between two sites.
#[derive(Debug, Clone, Copy)]
pub(super) struct Branch<'a> {
    pub(super) node: NodeId,
    pub(super) name: &'a str,
    pub(super) weighted: Weighted<'a>,
    pub(super) norm: Option<&'a BatchNorm>,
    pub(super) input: NodeId,
}

/// The float layer of a branch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weighted<'a> {
    Conv(&'a Conv2d),
    Linear(&'a Linear),
}

impl<'a> Weighted<'a> {
    pub(super) fn weight(self) -> &'a Tensor {
        match self {
            Self::Conv(conv) => &conv.weight,
            Self::Linear(linear) => &linear.weight,
        }
    }

    pub(super) fn bias(self) -> Option<&'a Tensor> {
        match self {
            Self::Conv(conv) => conv.bias.as_ref(),
            Self::Linear(linear) => linear.bias.as_ref(),
        }
    }
}

/// A site that is added as it is, or with its pixels thinned out and channels of zeros around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortcut {
    pub(super) input: NodeId,
    pub(super) stride: usize,
    pub(super) front: usize,
}

/// What a site is computed from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Term<'a> {
    Branch(Branch<'a>),
    Shortcut(Shortcut),
}

/// Bounds that an activation function puts on the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounds {
    None,
    Relu,
    Relu6,
}

/// One integer operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layer<'a> {
    /// The pixels' table.
    Input,
    /// One term or the sum of two, quantized once.
    Sum {
        left: Term<'a>,
        right: Option<Term<'a>>,
        bounds: Bounds,
        range: ActivationRange,
    },
    MaxPool {
        input: NodeId,
        window: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    },
    /// Averages whose divisor the next layer takes over.
    SumPool {
        input: NodeId,
        window: [usize; 2],
        stride: [usize; 2],
    },
    AveragePool {
        input: NodeId,
        window: [usize; 2],
        stride: [usize; 2],
        range: ActivationRange,
    },
    /// The classifier.
    Logits { branch: Branch<'a> },
}

/// The layers of a graph in execution order, each with the node that it computes.
pub(super) fn layers(network: &QuantizedGraph) -> Result<Vec<(NodeId, Layer<'_>)>, Error> {
    let mut matcher = Matcher {
        network,
        layers: Vec::new(),
    };
    let nodes = &network.graph.nodes;
    for index in 0..nodes.len() {
        matcher.node(NodeId(index))?;
    }
    match matcher.layers.last() {
        Some((node, Layer::Logits { .. })) if node.0 + 1 == nodes.len() => Ok(matcher.layers),
        _ => {
            let name = nodes.last().map_or("", |node| node.name.as_str());
            Err(Error::unsupported(
                name,
                "a network has to end in a linear layer",
            ))
        }
    }
}

struct Matcher<'a> {
    network: &'a QuantizedGraph,
    layers: Vec<(NodeId, Layer<'a>)>,
}

impl<'a> Matcher<'a> {
    fn node(&mut self, id: NodeId) -> Result<(), Error> {
        let node = self.get(id);
        let range = self.network.activations.get(id.0).copied().flatten();
        let layer = match (&node.op, range) {
            (Op::Input, _) => Some(Layer::Input),
            (
                Op::MaxPool {
                    window,
                    stride,
                    padding,
                },
                None,
            ) => Some(Layer::MaxPool {
                input: self.site_of(node, 0)?,
                window: *window,
                stride: *stride,
                padding: [padding.top, padding.left],
            }),
            (&Op::AveragePool { window, stride }, Some(range)) => Some(Layer::AveragePool {
                input: self.site_of(node, 0)?,
                window,
                stride,
                range,
            }),
            (&Op::AveragePool { window, stride }, None) => Some(Layer::SumPool {
                input: self.site_of(node, 0)?,
                window,
                stride,
            }),
            (Op::GlobalAveragePool, None) => Some(Layer::SumPool {
                input: self.site_of(node, 0)?,
                window: WHOLE_IMAGE,
                stride: [1, 1],
            }),
            (Op::GlobalAveragePool, Some(range)) => Some(Layer::AveragePool {
                input: self.site_of(node, 0)?,
                window: WHOLE_IMAGE,
                stride: [1, 1],
                range,
            }),
            (_, Some(range)) => Some(self.sum(id, range)?),
            (Op::Relu | Op::Relu6, None) => {
                let what = "an activation function without a quantizer; give it a range";
                return Err(Error::unsupported(&node.name, what));
            }
            (Op::LeakyRelu { .. } | Op::Tanh | Op::Upsample { .. } | Op::Reshape { .. }, None) => {
                let what = format!("no integer operation computes {:?}", node.op);
                return Err(Error::unsupported(&node.name, what));
            }
            (Op::Linear(_), None) if id.0 + 1 == self.network.graph.nodes.len() => {
                match self.term(id)? {
                    Term::Branch(branch) => Some(Layer::Logits { branch }),
                    Term::Shortcut(_) => None,
                }
            }
            // Part of the layer of a later site.
            _ => None,
        };
        self.layers.extend(layer.map(|layer| (id, layer)));
        Ok(())
    }

    fn get(&self, id: NodeId) -> &'a Node {
        &self.network.graph.nodes[id.0]
    }

    fn is_site(&self, id: NodeId) -> bool {
        self.layers.iter().any(|(site, _)| *site == id)
    }

    fn input(&self, node: &Node, position: usize) -> Result<NodeId, Error> {
        let input = node.inputs.get(position).copied();
        input.ok_or_else(|| Error::unsupported(&node.name, format!("input {position} is missing")))
    }

    /// The site that `node` reads, past nodes that only rename it.
    fn site_of(&self, node: &Node, position: usize) -> Result<NodeId, Error> {
        let mut id = self.input(node, position)?;
        while matches!(self.get(id).op, Op::Flatten) {
            id = self.input(self.get(id), 0)?;
        }
        if self.is_site(id) {
            return Ok(id);
        }
        let what = format!(
            "what it reads (`{}`) has no quantizer; give it a range",
            self.get(id).name
        );
        Err(Error::unsupported(&node.name, what))
    }

    fn sum(&self, id: NodeId, range: ActivationRange) -> Result<Layer<'a>, Error> {
        let node = self.get(id);
        let (bounds, top) = match node.op {
            Op::Relu => (Bounds::Relu, self.input(node, 0)?),
            Op::Relu6 => (Bounds::Relu6, self.input(node, 0)?),
            _ => (Bounds::None, id),
        };
        let sum = self.get(top);
        let (left, right) = match sum.op {
            Op::Add => {
                let left = self.term(self.input(sum, 0)?)?;
                (left, Some(self.term(self.input(sum, 1)?)?))
            }
            _ => (self.term(top)?, None),
        };
        Ok(Layer::Sum {
            left,
            right,
            bounds,
            range,
        })
    }

    /// `site -> layer -> BatchNorm`, or a site with or without `SubsamplePad`.
    fn term(&self, id: NodeId) -> Result<Term<'a>, Error> {
        if self.is_site(id) {
            return Ok(Term::Shortcut(Shortcut {
                input: id,
                stride: 1,
                front: 0,
            }));
        }
        let node = self.get(id);
        match &node.op {
            Op::Conv2d(conv) => self.branch(id, Weighted::Conv(conv), None),
            Op::Linear(linear) => self.branch(id, Weighted::Linear(linear), None),
            &Op::SubsamplePad { stride, front, .. } => Ok(Term::Shortcut(Shortcut {
                input: self.site_of(node, 0)?,
                stride,
                front,
            })),
            Op::BatchNorm(norm) => {
                let below = self.input(node, 0)?;
                if self.is_site(below) {
                    let what = format!(
                        "it reads `{}` behind a quantizer; take that one's range away",
                        self.get(below).name
                    );
                    return Err(Error::unsupported(&node.name, what));
                }
                match &self.get(below).op {
                    Op::Conv2d(conv) => self.branch(below, Weighted::Conv(conv), Some(norm)),
                    Op::Linear(linear) => self.branch(below, Weighted::Linear(linear), Some(norm)),
                    _ => Err(Error::unsupported(
                        &node.name,
                        "a BatchNorm has to follow a convolution or linear layer",
                    )),
                }
            }
            op => {
                let what = format!("no integer operation computes {op:?} at this place");
                Err(Error::unsupported(&node.name, what))
            }
        }
    }

    fn branch(
        &self,
        node: NodeId,
        weighted: Weighted<'a>,
        norm: Option<&'a BatchNorm>,
    ) -> Result<Term<'a>, Error> {
        let layer = self.get(node);
        let input = self.site_of(layer, 0)?;
        Ok(Term::Branch(Branch {
            node,
            name: &layer.name,
            weighted,
            norm,
            input,
        }))
    }
}
