use candle_core::Tensor;

use super::*;
use crate::{
    data::shapes,
    dfq::images::{DatasetImages, ImageSet},
    zoo::{self, RandomParameters},
};

const WIDTHS: [u8; 5] = [2, 3, 4, 5, 8];

fn network() -> Graph {
    let normalization = "0.5,0.5,0.5/0.25,0.25,0.25".parse().unwrap();
    let network = zoo::network("resnet8").unwrap();
    network
        .build(&mut RandomParameters::new(5), 10, normalization)
        .unwrap()
}

fn images(graph: &Graph) -> Tensor {
    let data = shapes::generate(shapes::Split::Train, 8);
    let images = DatasetImages {
        data: &data,
        normalization: &graph.normalization,
        batch: 8,
    };
    images.batch(0).unwrap().images
}

fn target(bytes: u64) -> Target<'static> {
    Target {
        bytes,
        widths: &WIDTHS,
        activations: 4,
        golden: &[],
    }
}

fn suggested(bytes: u64) -> Result<Suggestion> {
    let graph = network();
    suggest(&graph, &images(&graph), &target(bytes), &mut || ())
}

/// Sum of the divergences that the layers' widths were chosen for.
fn cost(suggestion: &Suggestion) -> f64 {
    let layers = suggestion.layers.iter();
    layers
        .map(|(layer, chosen)| layer.divergences[*chosen])
        .sum()
}

#[test]
fn more_bits_change_the_answers_less() {
    let graph = network();
    let uniform = WIDTHS.map(|weights| {
        let widths = Widths::from(target(0).bits(weights)).of(&graph).unwrap();
        refinement::fitted(&graph, widths, &images(&graph)).unwrap()
    });
    let mut measurements = 0;
    let layers = measure(&graph, &images(&graph), &uniform, &mut || measurements += 1).unwrap();
    assert_eq!(layers.len(), sensitivity::layer_count(&graph));
    assert_eq!(measurements, layers.len() * WIDTHS.len());
    for layer in layers {
        // On a few images a single bit more may make things worse by chance.
        let [two, _, four, _, eight] = layer.divergences[..] else {
            panic!("a divergence per width");
        };
        assert!(two > four && four > eight, "{layer:?}");
    }
}

#[test]
fn the_file_fits_and_the_layers_share_it_by_what_they_need() {
    let size = |bits| {
        let only = [bits];
        let graph = network();
        let target = Target {
            widths: &only,
            ..target(u64::MAX)
        };
        suggest(&graph, &images(&graph), &target, &mut || ()).unwrap()
    };
    let (least, uniform, most) = (size(2), size(4), size(8));
    let mixed = suggested(uniform.model_bytes).unwrap();
    assert!(mixed.model_bytes <= uniform.model_bytes);
    assert!(cost(&mixed) < cost(&uniform));
    let all = suggested(most.model_bytes).unwrap();
    assert_eq!(
        (all.model_bytes, all.widths),
        (most.model_bytes, most.widths)
    );
    let tight = suggested(least.model_bytes).unwrap();
    assert_eq!(tight.widths, least.widths);
}

#[test]
fn too_small_a_file_is_refused_with_the_least_size() {
    let least = suggested(u64::MAX / 2).unwrap();
    assert!(
        least
            .layers
            .iter()
            .all(|(_, chosen)| *chosen == WIDTHS.len() - 1)
    );
    let error = suggested(1000).unwrap_err();
    let Error::TooSmall {
        target: 1000,
        least,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(suggested(least).unwrap().model_bytes, least);
}

#[test]
fn widths_are_written_as_the_trainer_reads_them() {
    let graph = network();
    let uniform = suggested(u64::MAX / 2).unwrap();
    let layers: Vec<LayerSensitivity> = uniform.layers.into_iter().map(|(l, _)| l).collect();
    let chosen: Vec<usize> = (0..layers.len())
        .map(|index| if index == 1 { 1 } else { 3 })
        .collect();
    let widths = widths(&layers, &chosen, &target(0));
    let text = format!("w5a4,{}=w3a4", layers[1].name);
    assert_eq!(widths.to_string(), text);
    assert_eq!(
        text.parse::<Widths>().unwrap().of(&graph).unwrap(),
        widths.of(&graph).unwrap()
    );
}
