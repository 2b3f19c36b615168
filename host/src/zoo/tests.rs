use super::*;
use crate::graph::{Op, Quantizer, infer_shapes, macs};

fn graph(network: &Network) -> Graph {
    network.outline().unwrap()
}

#[test]
fn every_network_fits_together() {
    for network in networks() {
        let graph = graph(network);
        infer_shapes(&graph).unwrap_or_else(|error| panic!("{}: {error}", network.name));
        let known = network.normalization();
        assert!(known.is_none_or(|known| known.fits(network.input_shape[0])));
    }
}

/// Parameters as the frameworks count them, multiplications as the literature does.
#[test]
fn sizes_are_those_of_the_literature() {
    for (name, parameters, multiplications) in [
        ("resnet20", 269_722, 40_551_040),
        ("resnet18", 11_689_512, 1_814_073_344),
        ("resnet50", 25_557_032, 4_089_184_256),
        ("mobilenetv2", 3_504_872, 300_774_272),
        ("vgg16", 14_724_042, 313_201_664),
        ("mlperf_tiny_ad_autoencoder", 269_992 - 2_064, 264_192),
    ] {
        let graph = graph(network(name).unwrap());
        let count: usize = graph
            .parameters()
            .iter()
            .map(|(_, tensor)| tensor.elem_count())
            .sum();
        let macs: u64 = macs(&graph).unwrap().iter().sum();
        assert_eq!((count, macs), (parameters, multiplications), "{name}");
    }
}

/// ResNet-20 needs two images of 16 x 32 x 32 at once and computes into the third.
#[test]
fn memory_is_that_of_what_is_needed_at_once() {
    let bytes = |name: &str| graph(network(name).unwrap()).activation_bytes().unwrap();
    assert_eq!(bytes("resnet20"), 3 * 16 * 32 * 32);
    assert_eq!(bytes("mlperf_tiny_kws_dscnn"), 2 * 64 * 25 * 5);
    assert_eq!(bytes("mlperf_tiny_vww_mobilenetv1_025"), (8 + 16) * 48 * 48);
}

#[test]
fn quantizers_stand_where_integers_are_needed() {
    let linear =
        |name: &str| {
            let graph = graph(network(name).unwrap());
            let quantizers = graph.quantizers();
            let of_kind =
                |kind| move |(node, found): (_, &Option<_>)| (*found == Some(kind)).then_some(node);
            let names = graph.nodes.iter().map(|node| node.name.clone());
            let relus = |op: &Op| matches!(op, Op::Relu | Op::Relu6);
            let activations = quantizers.iter().zip(&graph.nodes);
            assert!(activations.into_iter().all(|(found, node)| relus(&node.op)
            == (*found == Some(Quantizer::Activation))));
            let linear: Vec<String> = names
                .zip(&quantizers)
                .filter_map(of_kind(Quantizer::Linear))
                .collect();
            linear
        };
    assert!(linear("resnet20").is_empty());
    assert!(linear("resnet50").is_empty());
    assert!(linear("vgg16").is_empty());
    assert!(linear("mlperf_tiny_kws_dscnn").is_empty());
    assert!(linear("mlperf_tiny_resnet8").is_empty());
    let stem = linear("cifar100_resnet20_wide_stem");
    assert_eq!(
        stem,
        [
            "layer1.0.add",
            "layer1.1.add",
            "layer2.0.add",
            "layer2.1.add",
            "layer3.0.add",
            "layer3.1.add"
        ]
    );
    let bottlenecks = linear("mobilenetv2");
    assert_eq!(bottlenecks.len(), 17);
    assert_eq!(bottlenecks[0], "features.1.conv.2");
    assert_eq!(bottlenecks[2], "features.3.add");
}
