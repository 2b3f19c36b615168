//! Layers with quantized weights against the reference figures.

use candle_core::Tensor;

use super::{graph, options};
use crate::dfq::golden::{Golden, assert_norm, flat};
use crate::dfq::quantizer;
use crate::graph::{Conv2d, Graph, Linear, NodeId, Op, Padding, ParameterName};
use crate::nn::Result;
use crate::nn::executor::{BatchStatistics, ExtraGradients, Hooks, Wanted, backward, forward};

/// Uses weights of 3, 4 or 8 bits in place of the float ones.
struct QuantizedWeights(u8);

impl Hooks for QuantizedWeights {
    fn weight(&mut self, _node: NodeId, weight: &Tensor) -> Result<Tensor> {
        Ok(quantizer::fake_quantize_weight(weight, self.0, None).unwrap())
    }
}

/// Section `weight_quant` of the reference figures: layers with quantized weights.
#[test]
fn quantized_layers_and_their_gradients_equal_the_reference() {
    let Some(golden) = Golden::open("weight_quant") else {
        return;
    };
    for bits in [3, 4, 8] {
        for stride in [1, 2] {
            let key = format!("fwd_conv_s{stride}.b{bits}");
            let conv = Conv2d {
                weight: golden.tensor(&format!("{key}.w")),
                bias: None,
                stride,
                padding: Padding::same(1),
                groups: 1,
            };
            let network = graph([4, 9, 9], vec![(Op::Conv2d(conv), vec![0])]);
            assert_reference(&golden, &key, &network, bits);
        }
        let key = format!("fwd_linear.b{bits}");
        let linear = Linear {
            weight: golden.tensor(&format!("{key}.w")),
            bias: Some(golden.tensor(&format!("{key}.bias"))),
        };
        let network = graph([64, 1, 1], vec![(Op::Linear(linear), vec![0])]);
        assert_reference(&golden, &key, &network, bits);
    }
}

/// Two orders of adding some hundred products in single precision differ by less than 1e-6 of the
/// norm.
fn assert_reference(golden: &Golden, key: &str, network: &Graph, bits: u8) {
    let tensor = |name: &str| golden.tensor(&format!("{key}.{name}"));
    let running = options(BatchStatistics::Running);
    let pass = forward(network, &tensor("x"), running, &mut QuantizedWeights(bits)).unwrap();
    let wanted = Wanted {
        input: true,
        parameters: true,
    };
    let found = backward(
        network,
        &pass,
        &tensor("r"),
        wanted,
        &ExtraGradients::default(),
    )
    .unwrap();
    let parameters = &found.parameters;
    let pairs = [
        ("y", Some(pass.output())),
        ("grad_x", found.input.as_ref()),
        (
            "grad_w",
            parameters.get(&(NodeId(1), ParameterName::Weight)),
        ),
        (
            "grad_bias",
            parameters.get(&(NodeId(1), ParameterName::Bias)),
        ),
    ];
    for (name, found) in pairs {
        if let Some(found) = found {
            let what = format!("{key}.{name}");
            assert_norm(
                &what,
                &flat(found),
                &golden.f64(&format!("{what}.f64")),
                1e-6,
            );
        }
    }
}
