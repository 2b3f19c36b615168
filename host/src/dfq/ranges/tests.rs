use super::*;
use crate::{
    dfq::{golden::flat, images::Images, random::Random},
    graph::Op,
    zoo::{self, RandomParameters},
};

fn histogram(ends: Ends, values: &[f32]) -> Histogram {
    let mut histogram = Histogram::new(ends);
    histogram.add(values);
    histogram
}

/// `0.0005, 0.0015, ...` up to 1.
fn evenly() -> Vec<f32> {
    (0..1000).map(|i| (i as f32 + 0.5) / 1000.0).collect()
}

#[test]
fn percentiles_leave_out_what_is_rare() {
    let (least, greatest) = histogram((0.0, 1.0), &evenly()).within(90.0);
    assert_eq!(least, 0.0);
    assert!((greatest - 0.9).abs() < 2e-3, "{greatest}");

    let both_sides: Vec<f32> = evenly().iter().map(|x| 4.0 * x - 3.0).collect();
    let (least, greatest) = histogram((-3.0, 1.0), &both_sides).within(95.0);
    assert!((least + 2.8).abs() < 6e-3, "{least}");
    assert!((greatest - 0.8).abs() < 6e-3, "{greatest}");

    let outlier = [evenly(), vec![50.0]].concat();
    let (_, greatest) = histogram((0.0, 50.0), &outlier).within(99.5);
    assert!(greatest < 1.1, "{greatest}");
    assert_eq!(histogram((0.0, 50.0), &outlier).within(100.0), (0.0, 50.0));
}

#[test]
fn the_least_error_clips_an_outlier_at_few_bits_and_less_at_many() {
    let outlier = [evenly(), vec![4.0]].concat();
    let ends = |bits| histogram((0.0, 4.0), &outlier).least_error(bits).unwrap();
    let (few, many) = (ends(2), ends(8));
    assert_eq!(few.0, 0.0);
    assert!(few.1 < 1.5, "{few:?}");
    assert!(few.1 < many.1 && many.1 <= 4.0, "{few:?} {many:?}");
}

#[test]
fn the_error_of_a_histogram_is_nearly_that_of_its_values() {
    let values = flat(&Random::new(4, 0).uniform(20_000, 1.5).unwrap());
    let histogram = histogram((-1.5, 1.5), &values);
    for range in [(-1.5, 1.5), (-0.7, 0.9)] {
        let quantizer = LinearQuantizer::new(&ActivationRange {
            bits: 3,
            min: range.0,
            max: range.1,
        });
        let quantized = quantizer.unwrap().fake_quantized(&values);
        let pairs = values.iter().zip(&quantized);
        let expected: f64 = pairs.map(|(x, y)| f64::from(x - y).powi(2)).sum();
        let found = histogram.error(range, 3).unwrap();
        assert!((found / expected - 1.0).abs() < 0.01, "{found} {expected}");
    }
}

#[test]
fn a_constant_has_a_range() {
    for choice in [RangeChoice::Percentile, RangeChoice::Mse] {
        let histogram = histogram((0.0, 0.0), &[0.0; 9]);
        let ends = match choice {
            RangeChoice::Mse => histogram.least_error(4).unwrap(),
            _ => histogram.within(99.0),
        };
        assert_eq!(ends, (0.0, 0.0), "{choice}");
    }
}

fn network() -> Graph {
    let normalization = "0.5,0.5,0.5/0.25,0.25,0.25".parse().unwrap();
    let network = zoo::network("resnet8").unwrap();
    network
        .build(&mut RandomParameters::new(5), 10, normalization)
        .unwrap()
}

fn batch(seed: u64, size: usize) -> Images {
    Images {
        images: Random::new(seed, 0).normal((size, 3, 32, 32)).unwrap(),
        labels: vec![0; size],
    }
}

fn bits(network: &Graph) -> Vec<u8> {
    vec![4; network.nodes.len()]
}

fn rule(choice: RangeChoice) -> RangeRule {
    RangeRule {
        choice,
        percentile: 99.0,
    }
}

#[test]
fn ranges_span_all_batches_and_stand_behind_relus_only() {
    let (network, set) = (network(), vec![batch(1, 3), batch(2, 2)]);
    let ranges = of_images(&network, &bits(&network), &set, rule(RangeChoice::MinMax)).unwrap();
    let options = ForwardOptions {
        batch_statistics: BatchStatistics::Running,
        keep_for_backward: true,
        record_batch_norm_inputs: false,
    };
    let passes: Vec<_> = set
        .iter()
        .map(|batch| executor::forward(&network, &batch.images, options, &mut ()).unwrap())
        .collect();
    for (index, (node, range)) in network.nodes.iter().zip(&ranges).enumerate() {
        let is_relu = matches!(node.op, Op::Relu | Op::Relu6);
        assert_eq!(range.is_some(), is_relu, "{}", node.name);
        let Some((min, max)) = *range else { continue };
        let values = passes
            .iter()
            .map(|pass| flat(pass.value(NodeId(index)).unwrap()));
        let values: Vec<f32> = values.flatten().collect();
        assert_eq!(min, values.iter().copied().fold(f32::INFINITY, f32::min));
        assert_eq!(
            max,
            values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
        );
    }
    for choice in [RangeChoice::Percentile, RangeChoice::Mse] {
        let narrower = of_images(&network, &bits(&network), &set, rule(choice)).unwrap();
        for (narrow, wide) in narrower.iter().zip(&ranges) {
            let (Some(narrow), Some(wide)) = (narrow, wide) else {
                assert_eq!(narrow, wide);
                continue;
            };
            assert!(narrow.0 == 0.0 && narrow.1 < wide.1, "{narrow:?} {wide:?}");
        }
    }
}

#[test]
fn no_images_give_no_ranges() {
    let none: Vec<Images> = Vec::new();
    let result = of_images(&network(), &[], &none, rule(RangeChoice::MinMax));
    assert!(matches!(result, Err(Error::NoImages)));
}

#[test]
fn choices_are_read_and_written() {
    for choice in RangeChoice::ALL {
        assert_eq!(choice.to_string().parse::<RangeChoice>().unwrap(), choice);
    }
    let message = "max".parse::<RangeChoice>().unwrap_err().to_string();
    assert!(message.contains("min-max, percentile, mse"), "{message}");
}
