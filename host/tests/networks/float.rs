//! Published networks reach their published accuracy and logits, from every format.

use std::path::Path;

use candle_core::Tensor;
use lowbit_host::data::{Dataset, Source};
use lowbit_host::graph::tensor_file::TensorFile;
use lowbit_host::graph::{Graph, Normalization};
use lowbit_host::nn::executor::{BatchStatistics, ForwardOptions, forward};
use lowbit_host::{import, nn};

use crate::files::data;

/// A checkpoint with its test set, and what is known of the two.
struct Published {
    file: &'static str,
    network: &'static str,
    /// Where the network does not have its own.
    normalization: Option<&'static str>,
    images: fn(&Path) -> Source,
    image_file: &'static str,
    correct: usize,
}

const CIFAR10: Published = Published {
    file: "cifar10_resnet20",
    network: "resnet20",
    normalization: Some("imagenet"),
    images: |path| Source::Cifar10(path.to_owned()),
    image_file: "cifar10_test.bin",
    correct: 9173,
};

const CIFAR100: Published = Published {
    file: "cifar100_resnet32",
    network: "resnet32",
    normalization: Some("cifar100"),
    images: |path| Source::Cifar100(path.to_owned()),
    image_file: "cifar100_test_a.bin",
    correct: 3472,
};

const WIDE_STEM: Published = Published {
    file: "cifar100_resnet20_wide_stem",
    network: "cifar100_resnet20_wide_stem",
    normalization: None,
    correct: 3467,
    ..CIFAR100
};

const TINY_RESNET8: Published = Published {
    file: "mlperf_tiny_resnet8",
    network: "mlperf_tiny_resnet8",
    normalization: None,
    correct: 8721,
    ..CIFAR10
};

const KEYWORDS: Published = Published {
    file: "mlperf_tiny_kws_dscnn",
    network: "mlperf_tiny_kws_dscnn",
    normalization: None,
    images: |path| Source::Kws01(path.to_owned()),
    image_file: "kws01_test.bin",
    correct: 915,
};

impl Published {
    fn normalization(&self) -> Option<Normalization> {
        self.normalization.map(|name| name.parse().unwrap())
    }

    fn graph(&self) -> Option<Graph> {
        let path = data(&format!("{}.safetensors", self.file))?;
        let imported = import::open(&path, Some(self.network), None, self.normalization());
        let recognized = import::open(&path, None, None, self.normalization()).unwrap();
        assert_eq!(recognized.graph.name, self.network);
        let imported = imported.unwrap();
        assert!(imported.normalized);
        Some(imported.graph)
    }

    fn has_accuracy(&self) {
        let (Some(graph), Some(images)) = (self.graph(), data(self.image_file)) else {
            return;
        };
        let dataset = (self.images)(&images).load().unwrap();
        let ranks = nn::evaluate(&graph, &dataset, &mut (), |_| {}).unwrap();
        let correct = ranks.iter().filter(|&&rank| rank == 0);
        assert_eq!(correct.count(), self.correct, "of {}", dataset.len());
    }

    /// From the checkpoint and from the ONNX files `exports`.
    fn has_logits(&self, exports: &[&str]) {
        if let Some(graph) = self.graph() {
            self.check_logits(&graph);
        }
        for file in exports {
            let Some(path) = data(file) else { continue };
            let imported = import::open(&path, None, None, self.normalization()).unwrap();
            assert!(imported.normalized && imported.notes.is_empty());
            self.check_logits(&imported.graph);
        }
    }

    fn check_logits(&self, graph: &Graph) {
        let (Some(images), Some(logits)) =
            (data(self.image_file), data("reference_logits.safetensors"))
        else {
            return;
        };
        let dataset = (self.images)(&images).load().unwrap();
        let expected = TensorFile::read(&logits).unwrap();
        let expected = expected.tensor(self.file, &[64, graph.classes]).unwrap();
        let largest = largest_difference(graph, &dataset, &expected);
        assert!(largest <= 1e-4, "logits differ by {largest:e}");
    }
}

#[test]
fn cifar10_resnet20_has_its_published_accuracy() {
    CIFAR10.has_accuracy();
}

#[test]
fn cifar100_resnet32_has_its_measured_accuracy() {
    CIFAR100.has_accuracy();
}

#[test]
fn cifar10_resnet20_has_the_reference_logits() {
    CIFAR10.has_logits(&["cifar10_resnet20.onnx", "cifar10_resnet20_bn_folded.onnx"]);
}

#[test]
fn cifar100_resnet32_has_the_reference_logits() {
    CIFAR100.has_logits(&["cifar100_resnet32_dynamo.onnx"]);
}

#[test]
fn cifar100_resnet20_wide_stem_has_its_measured_accuracy() {
    WIDE_STEM.has_accuracy();
}

#[test]
fn mlperf_tiny_resnet8_has_its_measured_accuracy() {
    TINY_RESNET8.has_accuracy();
}

#[test]
fn mlperf_tiny_kws_dscnn_has_its_measured_accuracy() {
    KEYWORDS.has_accuracy();
}

#[test]
fn other_networks_have_the_reference_logits() {
    WIDE_STEM.has_logits(&[]);
    TINY_RESNET8.has_logits(&[]);
    KEYWORDS.has_logits(&[]);
}

/// The image that the reference has logits of is made, as its data set is not to be had.
#[test]
fn person_detection_has_the_reference_logits() {
    const SIDE: usize = 96;
    let name = "mlperf_tiny_vww_mobilenetv1_025";
    let (Some(path), Some(logits)) = (
        data(&format!("{name}.safetensors")),
        data("reference_logits.safetensors"),
    ) else {
        return;
    };
    let graph = import::open(&path, Some(name), None, None).unwrap().graph;
    let pixel = |index: usize| {
        let (y, x, c) = (index / (3 * SIDE), index / 3 % SIDE, index % 3);
        ((7 * y + 3 * x + 50 * c) % 256) as u8
    };
    let dataset = Dataset {
        name: "made".into(),
        shape: [SIDE, SIDE, 3],
        classes: 2,
        pixels: (0..SIDE * SIDE * 3).map(pixel).collect(),
        labels: vec![0],
    };
    let expected = TensorFile::read(&logits).unwrap();
    let expected = expected.tensor(name, &[1, 2]).unwrap();
    let difference = largest_difference(&graph, &dataset, &expected);
    assert!(difference <= 1e-4, "logits differ by {difference:e}");
}

fn largest_difference(graph: &Graph, dataset: &Dataset, expected: &Tensor) -> f32 {
    let indices: Vec<usize> = (0..expected.dims()[0]).collect();
    let input = nn::images(dataset, &indices, &graph.normalization).unwrap();
    let options = ForwardOptions {
        batch_statistics: BatchStatistics::Running,
        keep_for_backward: false,
        record_batch_norm_inputs: false,
    };
    let pass = forward(graph, &input, options, &mut ()).unwrap();
    let difference = (pass.output() - expected).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar::<f32>().unwrap()
}
