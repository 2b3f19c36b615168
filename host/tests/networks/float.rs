//! Published networks reach their published accuracy and logits, from every format.

use std::path::Path;

use lowbit_host::data::Source;
use lowbit_host::graph::Graph;
use lowbit_host::graph::tensor_file::TensorFile;
use lowbit_host::nn::executor::{BatchStatistics, ForwardOptions, forward};
use lowbit_host::{import, nn};

use crate::files::data;

/// A checkpoint with its test set, and what is known of the two.
struct Published {
    file: &'static str,
    network: &'static str,
    normalization: &'static str,
    images: fn(&Path) -> Source,
    image_file: &'static str,
    correct: usize,
}

const CIFAR10: Published = Published {
    file: "cifar10_resnet20",
    network: "resnet20",
    normalization: "imagenet",
    images: |path| Source::Cifar10(path.to_owned()),
    image_file: "cifar10_test.bin",
    correct: 9173,
};

const CIFAR100: Published = Published {
    file: "cifar100_resnet32",
    network: "resnet32",
    normalization: "cifar100",
    images: |path| Source::Cifar100(path.to_owned()),
    image_file: "cifar100_test_a.bin",
    correct: 3472,
};

impl Published {
    fn graph(&self) -> Option<Graph> {
        let path = data(&format!("{}.safetensors", self.file))?;
        let normalization = self.normalization.parse().unwrap();
        Some(import::load(&path, self.network, None, normalization).unwrap())
    }

    fn has_accuracy(&self) {
        let (Some(graph), Some(images)) = (self.graph(), data(self.image_file)) else {
            return;
        };
        let dataset = (self.images)(&images).load().unwrap();
        let classes = nn::evaluate(&graph, &dataset, &mut (), |_| {}).unwrap();
        let correct = classes.iter().zip(&dataset.labels).filter(|(a, b)| a == b);
        assert_eq!(correct.count(), self.correct, "of {}", dataset.len());
    }

    /// From the checkpoint and from the ONNX files `exports`.
    fn has_logits(&self, exports: &[&str]) {
        if let Some(graph) = self.graph() {
            self.check_logits(&graph);
        }
        for file in exports {
            let Some(path) = data(file) else { continue };
            let normalization = self.normalization.parse().unwrap();
            let imported = import::open(&path, None, None, Some(normalization)).unwrap();
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
        let indices: Vec<usize> = (0..64).collect();
        let input = nn::images(&dataset, &indices, &graph.normalization).unwrap();
        let options = ForwardOptions {
            batch_statistics: BatchStatistics::Running,
            keep_for_backward: false,
            record_batch_norm_inputs: false,
        };
        let pass = forward(graph, &input, options, &mut ()).unwrap();
        let difference = (pass.output() - expected).unwrap().abs().unwrap();
        let largest = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
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
