use super::*;
use crate::{
    data::{Source as DataSource, shapes},
    dfq::{Method, golden::flat, ranges::RangeChoice},
    graph::Op,
    zoo::{self, RandomParameters},
};

fn teacher() -> Graph {
    let normalization = "0.5,0.5,0.5/0.25,0.25,0.25".parse().unwrap();
    let network = zoo::network("resnet8").unwrap();
    network
        .build(&mut RandomParameters::new(5), 10, normalization)
        .unwrap()
}

fn without_batch_norm() -> Graph {
    let mut graph = teacher();
    for node in &mut graph.nodes {
        if matches!(node.op, Op::BatchNorm(_)) {
            node.op = Op::LeakyRelu { slope: 1.0 };
        }
    }
    graph
}

fn config(method: Method) -> Config {
    let config = method.settings(Config::default());
    Config {
        batch_norm_batches: config.batch_norm_batches.min(2),
        synthesis: Synthesis {
            images: 6,
            batch: 4,
            steps: 2,
            ..config.synthesis
        },
        ..config
    }
}

fn images() -> Dataset {
    shapes::generate(shapes::Split::Train, 10)
}

fn quantize(teacher: &Graph, config: &Config, given: Option<&Dataset>) -> Result<Quantized> {
    let stop = AtomicBool::new(false);
    super::quantize(teacher, config, given, &stop, &mut |_| ())
}

fn upper_ends(quantized: &Quantized) -> Vec<f32> {
    let ranges = quantized.network.activations.iter().flatten();
    ranges.map(|range| range.max).collect()
}

#[test]
fn every_method_quantizes_and_repeats_itself() {
    let images = images();
    for method in Method::ALL.into_iter().filter(|method| !method.trains()) {
        let given = method.takes_images().then_some(&images);
        let first = quantize(&teacher(), &config(method), given).unwrap();
        let again = quantize(&teacher(), &config(method), given).unwrap();
        let ranges: Vec<_> = first.network.activations.iter().flatten().collect();
        assert_eq!(ranges.len(), 7, "{method}");
        assert!(
            ranges
                .iter()
                .all(|range| range.min == 0.0 && range.max > 0.0)
        );
        assert_eq!(first.network.activations, again.network.activations);
        assert_eq!(first.samples, again.samples);
        assert_eq!(first.samples.len(), 4);

        let weights = |graph: &Graph| -> Vec<Vec<f32>> {
            let parameters = graph.parameters();
            parameters.iter().map(|(_, tensor)| flat(tensor)).collect()
        };
        assert_eq!(
            weights(&first.network.graph),
            weights(&teacher()),
            "{method}"
        );
    }
}

#[test]
fn only_aac_abn_changes_the_statistics_unless_told_to() {
    let images = images();
    let statistics = |graph: &Graph| -> Vec<Vec<f32>> {
        let nodes = graph.nodes.iter();
        let norms = nodes.filter_map(|node| match &node.op {
            Op::BatchNorm(norm) => Some([&norm.running_mean, &norm.running_var]),
            _ => None,
        });
        norms.flatten().map(flat).collect()
    };
    let changed = |config: &Config| {
        let given = config.method.takes_images().then_some(&images);
        let quantized = quantize(&teacher(), config, given).unwrap();
        statistics(&quantized.network.graph) != statistics(&teacher())
    };
    for method in [Method::AacAbn, Method::Zeroq, Method::Ptq] {
        assert_eq!(
            changed(&config(method)),
            method == Method::AacAbn,
            "{method}"
        );
        let told = Config {
            batch_norm_batches: 1,
            ..config(method)
        };
        assert!(changed(&told), "{method}");
    }
}

#[test]
fn the_user_s_images_and_the_choice_decide_on_the_ranges_of_ptq() {
    let config = config(Method::Ptq);
    let all = images();
    let ends = |data: &Dataset, choice| {
        let config = Config {
            ranges: choice,
            ..config.clone()
        };
        upper_ends(&quantize(&teacher(), &config, Some(data)).unwrap())
    };
    let few = ends(&all.clone().take(2), RangeChoice::MinMax);
    let many = ends(&all, RangeChoice::MinMax);
    assert!(few.iter().zip(&many).all(|(few, many)| few <= many));
    assert_ne!(few, many);
    assert_ne!(many, ends(&all, RangeChoice::Mse));

    let error = quantize(&teacher(), &config, None).unwrap_err();
    assert!(matches!(error, Error::NoImages), "{error}");
}

#[test]
fn networks_without_batch_norm_need_a_method_that_needs_none() {
    let bare = without_batch_norm();
    quantize(&bare, &config(Method::Ptq), Some(&images())).unwrap();
    quantize(&bare, &config(Method::AacAbn), None).unwrap();
    let error = quantize(&bare, &config(Method::Zeroq), None).unwrap_err();
    assert!(matches!(error, Error::NoStatistics(_)), "{error}");
}

#[test]
fn a_game_is_no_method_of_this_kind() {
    let error = quantize(&teacher(), &Config::default(), None).unwrap_err();
    assert!(matches!(error, Error::Game(Method::Adadfq)), "{error}");
}

#[test]
fn it_stops_when_told_to() {
    let stop = AtomicBool::new(false);
    let mut steps = 0;
    let mut progress = |_: Step| {
        steps += 1;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let result = super::quantize(
        &teacher(),
        &config(Method::Zeroq),
        None,
        &stop,
        &mut progress,
    );
    assert!(matches!(result, Err(Error::Stopped)));
    assert_eq!(steps, 1);
}

#[test]
fn the_built_in_images_fit() {
    let data = DataSource::Shapes.load().unwrap().take(3);
    let quantized = quantize(&teacher(), &config(Method::Ptq), Some(&data)).unwrap();
    let pixels: Vec<&[u8]> = quantized
        .samples
        .iter()
        .map(|(_, pixels)| &pixels[..])
        .collect();
    let expected: Vec<&[u8]> = (0..3).map(|index| data.image(index)).collect();
    assert_eq!(pixels, expected);
}
