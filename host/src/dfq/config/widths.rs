//! Widths layer by layer.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Bits;
use crate::{
    dfq::{Error, Result},
    graph::{Graph, Op, Quantizer},
};

/// Bits of values without activation function that have to be integers on a board.
const LINEAR_BITS: u8 = 8;
const FIRST: &str = "first";
const LAST: &str = "last";

/// Widths of the layers of a network, written `w4a4,first=w8a8,layer1.0.conv1=w3a4` or, in a file,
/// as such a text or a table `{ most = "w4a4", first = "w8a8" }`.
///
/// A layer is a convolution or a linear layer, `first` and `last` are the ends of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Widths {
    /// Of all layers that are not named.
    pub most: Bits,
    /// Of layers by name.
    pub named: BTreeMap<String, Bits>,
}

/// The two forms in a file.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected widths such as \"w4a4\" or { most = \"w4a4\", first = \"w8a8\" }"
)]
enum Written {
    Text(String),
    Table(BTreeMap<String, Bits>),
}

/// Widths of every node of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWidths {
    /// Bits of the weight of every node, `None` where there is no weight.
    pub weights: Vec<Option<u8>>,
    /// Bits of the quantizer behind every node, of use where there is one.
    pub activations: Vec<u8>,
}

impl Widths {
    /// The same for all nodes of `graph`: a weight has the width of its layer, a quantized value
    /// the largest of those of the layers that read it. The published method leaves values without
    /// activation function in floating point; a board cannot, so that they have at least 8 bits.
    ///
    /// # Errors
    /// [`Error::NoLayer`] for a name that no layer has.
    pub fn of(&self, graph: &Graph) -> Result<NodeWidths> {
        let layers = self.of_layers(graph)?;
        let quantizers = graph.quantizers();
        let mut read: Vec<Option<u8>> = vec![None; graph.nodes.len()];
        for (index, node) in graph.nodes.iter().enumerate().rev() {
            let wanted = match &layers[index] {
                Some(bits) => Some(bits.activations),
                // What lies behind has a quantizer of its own.
                None if quantizers[index].is_some() || matches!(node.op, Op::Add) => None,
                None => read[index],
            };
            for input in &node.inputs {
                read[input.0] = read[input.0].max(wanted);
            }
        }
        let activations = quantizers.iter().zip(read).map(|(quantizer, read)| {
            let bits = read.unwrap_or(self.most.activations);
            match quantizer {
                Some(Quantizer::Linear) => bits.max(LINEAR_BITS),
                Some(Quantizer::Activation) | None => bits,
            }
        });
        Ok(NodeWidths {
            activations: activations.collect(),
            weights: layers
                .iter()
                .map(|bits| bits.map(|bits| bits.weights))
                .collect(),
        })
    }

    /// Those of every node that is a layer.
    fn of_layers(&self, graph: &Graph) -> Result<Vec<Option<Bits>>> {
        let is_layer = |op: &Op| matches!(op, Op::Conv2d(_) | Op::Linear(_));
        let layers = graph.nodes.iter().enumerate();
        let layers: Vec<usize> = layers
            .filter_map(|(index, node)| is_layer(&node.op).then_some(index))
            .collect();
        let mut widths = vec![None; graph.nodes.len()];
        for &layer in &layers {
            widths[layer] = Some(self.most);
        }
        let by_place = [(FIRST, layers.first()), (LAST, layers.last())];
        for (name, place) in by_place {
            if let (Some(&bits), Some(&layer)) = (self.named.get(name), place) {
                widths[layer] = Some(bits);
            }
        }
        for (name, &bits) in &self.named {
            let found = layers
                .iter()
                .find(|&&layer| graph.nodes[layer].name == *name);
            match found {
                Some(&layer) => widths[layer] = Some(bits),
                None if [FIRST, LAST].contains(&name.as_str()) => {}
                None => {
                    let names = layers.iter().map(|&layer| graph.nodes[layer].name.as_str());
                    return Err(Error::NoLayer {
                        name: name.clone(),
                        known: names.collect::<Vec<_>>().join(", "),
                    });
                }
            }
        }
        Ok(widths)
    }
}

impl From<Bits> for Widths {
    fn from(most: Bits) -> Self {
        let named = BTreeMap::new();
        Self { most, named }
    }
}

impl FromStr for Widths {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',');
        let most: Bits = parts.next().unwrap_or_default().trim().parse()?;
        let mut widths = Self::from(most);
        for part in parts {
            let (name, bits) = part
                .split_once('=')
                .ok_or_else(|| Error::BitsOfLayer(part.to_owned()))?;
            let name = name.trim().to_owned();
            let bits = bits.trim().parse()?;
            if widths.named.insert(name.clone(), bits).is_some() {
                return Err(Error::LayerTwice(name));
            }
        }
        Ok(widths)
    }
}

impl fmt::Display for Widths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.most)?;
        let mut named = self.named.iter();
        named.try_for_each(|(name, bits)| write!(f, ",{name}={bits}"))
    }
}

impl TryFrom<Written> for Widths {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Text(text) => text.parse(),
            Written::Table(mut named) => {
                let most = named.remove("most").ok_or(Error::NoBits)?;
                Ok(Self { most, named })
            }
        }
    }
}

impl From<Widths> for String {
    fn from(widths: Widths) -> Self {
        widths.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Normalization,
        zoo::{self, RandomParameters},
    };

    fn network(name: &str) -> Graph {
        let normalization = Normalization {
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
        };
        zoo::network(name)
            .unwrap()
            .build(&mut RandomParameters::new(5), 10, normalization)
            .unwrap()
    }

    fn widths(text: &str, graph: &Graph) -> (Vec<u8>, Vec<u8>) {
        let found = text.parse::<Widths>().unwrap().of(graph).unwrap();
        let quantizers = graph.quantizers().into_iter();
        let places = quantizers.zip(found.activations);
        (
            found.weights.into_iter().flatten().collect(),
            places
                .filter_map(|(quantizer, bits)| quantizer.map(|_| bits))
                .collect(),
        )
    }

    #[test]
    fn both_forms_are_read_and_the_text_written() {
        let text = "w4a4,first=w8a8,layer1.0.conv1=w3a5";
        let widths: Widths = text.parse().unwrap();
        assert_eq!(widths.to_string(), text);
        #[derive(Deserialize)]
        struct File {
            bits: Widths,
        }
        for file in [
            format!("bits = \"{text}\""),
            "[bits]\nmost = 'w4a4'\nfirst = 'w8a8'\n'layer1.0.conv1' = 'w3a5'".to_owned(),
        ] {
            assert_eq!(toml::from_str::<File>(&file).unwrap().bits, widths);
        }
        for (wrong, part) in [
            ("w4a4,first", "`first`"),
            ("w4a4,first=8", "`8`"),
            ("first=w8a8", "`first=w8a8`"),
            ("w4a4,last=w8a8,last=w4a4", "`last`"),
        ] {
            let error = wrong.parse::<Widths>().unwrap_err().to_string();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }

    /// ResNet-8: the first convolution is read by a convolution and a sum, each block's output by
    /// two convolutions, the last one through the pool by the linear layer.
    #[test]
    fn a_value_is_as_wide_as_the_widest_layer_that_reads_it() {
        let graph = network("resnet8");
        let layers = graph.nodes.iter();
        let layers: Vec<&str> = layers
            .filter(|node| matches!(node.op, Op::Conv2d(_) | Op::Linear(_)))
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(widths("w4a4", &graph), (vec![4; layers.len()], vec![4; 7]));
        let (weights, activations) = widths("w4a4,first=w8a8,last=w6a7", &graph);
        assert_eq!(weights[0], 8);
        assert_eq!(weights[1..layers.len() - 1], vec![4; layers.len() - 2]);
        assert_eq!(weights.last(), Some(&6));
        assert_eq!(activations, [4, 4, 4, 4, 4, 4, 7]);
        let second = layers[1];
        let (weights, activations) = widths(&format!("w4a4,{second}=w2a3"), &graph);
        assert_eq!(weights[1], 2);
        assert_eq!(activations, [3, 4, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn values_without_activation_function_keep_eight_bits() {
        let graph = network("mobilenetv2");
        let found = "w3a3".parse::<Widths>().unwrap().of(&graph).unwrap();
        for (quantizer, bits) in graph.quantizers().iter().zip(found.activations) {
            match quantizer {
                Some(Quantizer::Linear) => assert_eq!(bits, 8),
                Some(Quantizer::Activation) => assert_eq!(bits, 3),
                None => {}
            }
        }
    }

    #[test]
    fn a_name_that_no_layer_has_is_refused_with_those_there_are() {
        let widths: Widths = "w4a4,layer9.conv=w8a8".parse().unwrap();
        let error = widths.of(&network("resnet8")).unwrap_err().to_string();
        assert!(
            error.contains("`layer9.conv`") && error.contains("linear"),
            "{error}"
        );
    }
}
