use std::collections::{BTreeMap, HashMap};
use std::env;
use std::path::PathBuf;

use super::*;
use crate::graph::{Op, tensor_file};

/// Records what a network asks for.
#[derive(Default)]
struct Recorder(BTreeMap<String, Tensor>);

impl Parameters for Recorder {
    fn contains(&self, _: &str) -> bool {
        false
    }

    fn get(&mut self, name: &str, shape: &[usize]) -> candle_core::Result<Tensor> {
        let tensor = Tensor::ones(shape, DType::F32, &Device::Cpu)?;
        self.0.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }
}

fn normalization() -> Normalization {
    "cifar10".parse().unwrap()
}

fn weights(network: &str) -> BTreeMap<String, Tensor> {
    let mut recorder = Recorder::default();
    let network = zoo::network(network).unwrap();
    network.build(&mut recorder, 10, normalization()).unwrap();
    recorder.0
}

/// Writes a checkpoint of `network` changed by `change` and loads it as ResNet-8.
fn load_changed(
    network: &str,
    change: impl FnOnce(&mut BTreeMap<String, Tensor>),
) -> (Result<Graph>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let mut tensors = weights(network);
    change(&mut tensors);
    tensor_file::write(&path, &tensors, HashMap::new()).unwrap();
    (load(&path, "resnet8", Some(10), normalization()), folder)
}

fn message(network: &str, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> String {
    load_changed(network, change).0.unwrap_err().to_string()
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn a_whole_checkpoint_loads() {
    let (graph, _folder) = load_changed("resnet8", |_| {});
    let graph = graph.unwrap();
    assert_eq!(graph.classes, 10);
    assert_eq!(graph.nodes[1].name, "conv1");
}

#[test]
fn a_common_prefix_and_counters_do_not_matter() {
    let (graph, _folder) = load_changed("resnet8", |tensors| {
        let all = std::mem::take(tensors);
        let prefixed = all
            .into_iter()
            .map(|(name, tensor)| (format!("module.{name}"), tensor));
        tensors.extend(prefixed);
        tensors.insert("module.bn1.num_batches_tracked".into(), zeros(&[]));
    });
    assert_eq!(graph.unwrap().nodes[2].name, "bn1");
}

#[test]
fn projections_are_found() {
    let (graph, _folder) = load_changed("resnet8", |tensors| {
        for (layer, [from, to]) in [("layer2", [16, 32]), ("layer3", [32, 64])] {
            tensors.insert(
                format!("{layer}.0.shortcut.0.weight"),
                zeros(&[to, from, 1, 1]),
            );
            for part in ["weight", "bias", "running_mean", "running_var"] {
                tensors.insert(format!("{layer}.0.shortcut.1.{part}"), zeros(&[to]));
            }
        }
    });
    let graph = graph.unwrap();
    assert!(
        !graph
            .nodes
            .iter()
            .any(|node| matches!(node.op, Op::SubsamplePad { .. }))
    );
    assert!(
        graph
            .nodes
            .iter()
            .any(|node| node.name == "layer2.0.shortcut.0")
    );
}

#[test]
fn a_missing_tensor_is_named_with_what_is_like_it() {
    let error = message("resnet8", |tensors| {
        let tensor = tensors.remove("layer1.0.conv2.weight").unwrap();
        tensors.insert("layer1.0.conv_2.weight".into(), tensor);
    });
    for part in [
        "no tensor `layer1.0.conv2.weight` of shape [16, 16, 3, 3]",
        "36 of the 37 tensors that `resnet8` needs",
        "`layer1.0.conv_2.weight`",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn weights_of_another_network_give_one_message() {
    let error = message("resnet20", |_| {});
    assert!(error.contains("no place for 60"), "{error}");
    assert!(
        error.ends_with("these are the weights of `resnet20`"),
        "{error}"
    );
    let error = message("resnet8", |tensors| {
        tensors.retain(|name, _| !name.contains("running"));
    });
    assert!(error.contains("BatchNorm statistics"), "{error}");
    let error = message("resnet8", |tensors| {
        tensors.clear();
        tensors.insert("dense.kernel".into(), zeros(&[1]));
    });
    assert!(error.contains("0 of the 37 tensors"), "{error}");
}

#[test]
fn wrong_shapes_types_and_numbers_are_named() {
    let error = message("resnet8", |tensors| {
        tensors.insert("bn1.bias".into(), zeros(&[17]));
    });
    assert!(
        error.contains("`bn1.bias` has shape [17]; [16] expected"),
        "{error}"
    );
    let error = message("resnet8", |tensors| {
        tensors.insert("bn1.bias".into(), (zeros(&[16]) / 0.0).unwrap());
    });
    assert!(
        error.contains("`bn1.bias`") && error.contains("NaN"),
        "{error}"
    );
    let error = message("resnet8", |tensors| {
        tensors.insert("linear.weight".into(), zeros(&[7, 64]));
    });
    assert!(error.contains("7 classes; 10 were asked for"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let half = weights("resnet8").into_iter().map(|(name, tensor)| {
        let dtype = if name == "conv1.weight" {
            DType::F16
        } else {
            DType::F32
        };
        (name, tensor.to_dtype(dtype).unwrap())
    });
    candle_core::safetensors::save(&half.collect(), &path).unwrap();
    let error = load(&path, "resnet8", None, normalization())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`conv1.weight` has elements of type F16; F32 expected"),
        "{error}"
    );
}

#[test]
fn other_files_and_names_are_refused() {
    let refused = |path: &str, network| {
        load(&PathBuf::from(path), network, None, normalization())
            .unwrap_err()
            .to_string()
    };
    assert!(refused("x.safetensors", "resnet21").contains("resnet20"));
    assert!(refused("x.h5", "resnet20").contains(".safetensors, .pth"));
    assert!(refused("no/such.safetensors", "resnet20").contains("no/such.safetensors"));
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn published_checkpoints_load() {
    let folder = env::var_os("LOWBIT_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    for (file, network, classes) in [
        ("cifar10_resnet20", "resnet20", 10),
        ("cifar100_resnet32", "resnet32", 100),
    ] {
        let path = folder.join(file).with_extension("safetensors");
        if !path.exists() {
            eprintln!("skipped: {} is not there", path.display());
            continue;
        }
        let graph = load(&path, network, None, normalization()).unwrap();
        assert_eq!(graph.classes, classes);
        let error = load(&path, "resnet8", None, normalization())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("weights of `{network}`")),
            "{error}"
        );
    }
}
