use std::env;

use proptest::prelude::*;

use super::schema::{
    AttributeProto, Dimension, GraphProto, Model, NodeProto, OperatorSet, ShapeProto, TensorProto,
    TensorType, TypeProto, ValueInfo,
};
use super::*;
use crate::graph::Op;
use crate::nn::executor::{BatchStatistics, ForwardOptions, forward};

fn image(name: &str, sizes: &[i64]) -> ValueInfo {
    let dim = |&size: &i64| Dimension {
        dim_value: (size > 0).then_some(size),
    };
    ValueInfo {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorType {
                elem_type: 1,
                shape: Some(ShapeProto {
                    dim: sizes.iter().map(dim).collect(),
                }),
            }),
        }),
    }
}

fn floats(name: &str, dims: &[i64], value: impl Fn(usize) -> f32) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        raw_data: (0..count).flat_map(|i| value(i).to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: 7,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[i64])]) -> NodeProto {
    let attribute = |&(name, values): &(&str, &[i64])| AttributeProto {
        name: name.into(),
        i: values.first().copied(),
        ints: values.to_vec(),
        ..AttributeProto::default()
    };
    NodeProto {
        op_type: operator.into(),
        name: format!("the_{output}"),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute: attributes.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

/// A file with an input `x` of `sizes` and an output `y`.
fn file(sizes: &[i64], nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Model {
    Model {
        producer_name: "test".into(),
        opset_import: vec![OperatorSet {
            domain: String::new(),
            version: 17,
        }],
        graph: Some(GraphProto {
            name: "net".into(),
            node: nodes,
            initializer,
            input: vec![image("x", sizes)],
            output: vec![image("y", &[])],
        }),
    }
}

fn import(model: &Model) -> Result<Imported, Error> {
    decode(Path::new("net.onnx"), model.encode_to_vec().into(), None)
}

fn logits(model: &Model, input: &[f32]) -> Vec<f32> {
    let graph = import(model).unwrap().graph;
    let [channels, height, width] = graph.input_shape;
    let shape = (1, channels, height, width);
    let input = candle_core::Tensor::from_vec(input.to_vec(), shape, &candle_core::Device::Cpu);
    let options = ForwardOptions {
        batch_statistics: BatchStatistics::Running,
        keep_for_backward: false,
        record_batch_norm_inputs: false,
    };
    let pass = forward(&graph, &input.unwrap(), options, &mut ()).unwrap();
    pass.output().flatten_all().unwrap().to_vec1().unwrap()
}

fn problems(model: &Model) -> Vec<Problem> {
    match import(model) {
        Err(Error::Operators { problems, .. }) => problems,
        other => panic!("{other:?}"),
    }
}

/// `x[:, :, ::2, ::2]` with channels of zeros, sizes computed as PyTorch's exporter does, and a
/// product with added bias behind.
fn shortcut() -> Model {
    file(
        &[0, 1, 4, 4],
        vec![
            node("Slice", &["x", "zero", "large", "two", "two"], "rows", &[]),
            node(
                "Slice",
                &["rows", "zero", "large", "three", "two"],
                "thin",
                &[],
            ),
            node("Shape", &["thin"], "sizes", &[]),
            node("Gather", &["sizes", "one"], "channels", &[("axis", &[0])]),
            node(
                "Concat",
                &["zero", "channels", "zero", "zero"],
                "front",
                &[("axis", &[0])],
            ),
            node("Concat", &["front", "front"], "amounts", &[("axis", &[0])]),
            node("Pad", &["thin", "amounts"], "wide", &[]),
            node("Reshape", &["wide", "flat"], "features", &[]),
            node("MatMul", &["features", "weight"], "product", &[]),
            node("Add", &["bias", "product"], "sum", &[]),
            node("Softmax", &["sum"], "y", &[]),
        ],
        vec![
            ints("zero", &[0]),
            ints("one", &[1]),
            ints("two", &[2]),
            ints("three", &[3]),
            ints("large", &[i64::MAX]),
            ints("flat", &[0, -1]),
            floats("weight", &[12, 2], |index| (index / 2 * (index % 2)) as f32),
            floats("bias", &[2], |index| index as f32 * 0.5),
        ],
    )
}

#[test]
fn sizes_are_folded_and_the_shortcut_is_one_operator() {
    let imported = import(&shortcut()).unwrap();
    let ops: Vec<_> = imported.graph.nodes.iter().map(|node| &node.op).collect();
    assert!(matches!(
        ops[..],
        [
            Op::Input,
            Op::SubsamplePad {
                stride: 2,
                front: 1,
                back: 1
            },
            Op::Flatten,
            Op::Linear(_)
        ]
    ));
    assert!(
        imported.notes[0].contains("Softmax `the_y`"),
        "{:?}",
        imported.notes
    );
    assert!(!imported.normalized);
    // Features 4 to 7 of 12 are the pixels (0, 0), (0, 2), (2, 0), (2, 2).
    let pixels: Vec<f32> = (0..16).map(|pixel| pixel as f32).collect();
    let expected = 0.5 + 4.0 * 0.0 + 5.0 * 2.0 + 6.0 * 8.0 + 7.0 * 10.0;
    assert_eq!(logits(&shortcut(), &pixels), [0.0, expected]);
}

#[test]
fn pools_zeros_and_activations_are_those_of_the_format() {
    let window: &[(&str, &[i64])] = &[
        ("kernel_shape", &[3, 3]),
        ("strides", &[2, 2]),
        ("ceil_mode", &[1]),
    ];
    let model = file(
        &[2, 1, 4, 4],
        vec![
            node("Pad", &["x", "amounts"], "padded", &[]),
            node("Conv", &["padded", "kernel"], "conv", &[]),
            node("Clip", &["conv", "low", "high"], "clipped", &[]),
            node("MaxPool", &["clipped"], "pooled", window),
            node("ReduceMean", &["pooled"], "mean", &[("axes", &[-1, 2])]),
            node("Flatten", &["mean"], "flat", &[]),
            node(
                "Gemm",
                &["flat", "weight", "bias"],
                "y",
                &[("transB", &[1])],
            ),
        ],
        vec![
            ints("amounts", &[0, 0, 1, 0, 0, 0, 0, 0]),
            floats("kernel", &[1, 1, 2, 1], |index| index as f32),
            floats("low", &[], |_| 0.0),
            floats("high", &[], |_| 6.0),
            floats("weight", &[1, 1], |_| 10.0),
            floats("bias", &[1], |_| 1.0),
        ],
    );
    // The kernel with a row of zeros above is the identity; the four windows of 3x3 by 2 with
    // rounding up end in pixels 10, 11, 14 and 15, cut at 6.
    let pixels: Vec<f32> = (0..16).map(|pixel| pixel as f32 / 2.0).collect();
    assert_eq!(
        logits(&model, &pixels),
        [10.0 * (5.0 + 5.5 + 6.0 + 6.0) / 4.0 + 1.0]
    );
}

#[test]
fn channels_last_inputs_are_turned() {
    let model = file(
        &[0, 2, 2, 3],
        vec![
            node("Transpose", &["x"], "first", &[("perm", &[0, 3, 1, 2])]),
            node("GlobalAveragePool", &["first"], "mean", &[]),
            node("Conv", &["mean", "kernel", "bias"], "conv", &[]),
            node("Squeeze", &["conv", "axes"], "y", &[]),
        ],
        vec![
            floats("kernel", &[2, 3, 1, 1], |index| index as f32),
            floats("bias", &[2], |_| 1.0),
            ints("axes", &[2, 3]),
        ],
    );
    let graph = import(&model).unwrap().graph;
    assert_eq!((graph.input_shape, graph.classes), ([3, 2, 2], 2));
    let pixels = [[1.0; 4], [2.0; 4], [3.0; 4]].concat();
    assert_eq!(logits(&model, &pixels), [9.0, 27.0]);
}

#[test]
fn everything_that_is_not_supported_is_listed_at_once() {
    let model = file(
        &[1, 3, 8, 8],
        vec![
            node("Sigmoid", &["x"], "gate", &[]),
            node("Conv", &["gate", "kernel"], "conv", &[]),
            node("LSTM", &["conv"], "memory", &[]),
            node(
                "Conv",
                &["x", "kernel"],
                "spread",
                &[("dilations", &[2, 2])],
            ),
            node("Mul", &["x", "x"], "y", &[]),
        ],
        vec![floats("kernel", &[1, 3, 1, 1], |_| 1.0)],
    );
    let found = problems(&model);
    let nodes: Vec<_> = found.iter().map(|problem| problem.node.as_str()).collect();
    assert_eq!(nodes, ["the_gate", "the_memory", "the_spread", "the_y"]);
    let text = import(&model).unwrap_err().to_string();
    assert!(
        text.contains("4 of its operators") && text.contains("ReLU6"),
        "{text}"
    );
}

#[test]
fn old_files_and_other_interfaces_say_what_to_do() {
    let mut old = shortcut();
    old.opset_import[0].version = 9;
    let error = import(&old).unwrap_err().to_string();
    assert!(
        error.contains("version 9") && error.contains("opset_version=17"),
        "{error}"
    );
    let error = import(&file(&[1, 3, 0, 0], vec![], vec![]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("fixed size"), "{error}");
    let mut two = shortcut();
    two.graph.as_mut().unwrap().input.push(image("other", &[1]));
    let error = import(&two).unwrap_err().to_string();
    assert!(
        error.contains("one input expected") && error.contains("other"),
        "{error}"
    );
    let error = decode(Path::new("x.onnx"), Bytes::from_static(b"PK\x03\x04"), None).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error}");
}

#[test]
fn constants_cannot_outgrow_the_file() {
    let sizes = [1 << 20, 1 << 20];
    let bomb = |nodes| {
        file(
            &[1, 1, 2, 2],
            nodes,
            vec![ints("sizes", &sizes), ints("one", &[1])],
        )
    };
    let found = problems(&bomb(vec![node("ConstantOfShape", &["sizes"], "y", &[])]));
    assert!(found[0].what.contains("larger than the file"), "{found:?}");
    let mut doubling = vec![node("Concat", &["one", "one"], "v0", &[("axis", &[0])])];
    for step in 0..40 {
        let (from, to) = (format!("v{step}"), format!("v{}", step + 1));
        doubling.push(node("Concat", &[&from, &from], &to, &[("axis", &[0])]));
    }
    let found = problems(&bomb(doubling));
    assert!(found[0].what.contains("larger than the file"), "{found:?}");
    let mut outside = shortcut();
    let weight = &mut outside.graph.as_mut().unwrap().initializer[6];
    weight.data_location = 1;
    weight.external_data = vec![schema::Entry {
        key: "location".into(),
        value: "../secret".into(),
    }];
    let found = problems(&outside);
    assert!(
        found[0].what.contains("outside the file's folder"),
        "{found:?}"
    );
}

#[test]
fn weights_in_another_file_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = shortcut();
    let expected = logits(&model, &[1.0; 16]);
    let weight = &mut model.graph.as_mut().unwrap().initializer[6];
    let data = [&[0u8; 8][..], &std::mem::take(&mut weight.raw_data)].concat();
    fs_err::write(folder.path().join("net.onnx.data"), data).unwrap();
    weight.data_location = 1;
    let pairs = [
        ("location", "net.onnx.data"),
        ("offset", "8"),
        ("length", "96"),
    ];
    weight.external_data = pairs
        .map(|(key, value)| schema::Entry {
            key: key.into(),
            value: value.into(),
        })
        .to_vec();
    let path = folder.path().join("net.onnx");
    fs_err::write(&path, model.encode_to_vec()).unwrap();
    let graph = read(&path, None).unwrap().graph;
    let Op::Linear(linear) = &graph.nodes.last().unwrap().op else {
        panic!("a linear layer expected");
    };
    let sum = linear.weight.sum_all().unwrap().to_scalar::<f32>().unwrap();
    assert_eq!((graph.classes, sum), (2, 66.0));
    assert_eq!(expected.len(), 2);
}

proptest! {
    #[test]
    fn damaged_files_give_errors(
        cut in 0usize..2000,
        flips in prop::collection::vec((0usize..2000, 0u8..8), 0..6),
    ) {
        let mut bytes = shortcut().encode_to_vec();
        for (place, bit) in flips {
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
        }
        bytes.truncate(if cut < 1000 { bytes.len() } else { cut % bytes.len() });
        let _ = decode(Path::new("net.onnx"), bytes.into(), None);
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn exports_of_pytorch_keep_or_lack_their_batch_norm() {
    let folder = env::var_os("LOWBIT_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    for (name, classes, shortcuts, norms) in [
        ("cifar10_resnet20", 10, 2, 19),
        ("cifar10_resnet20_bn_folded", 10, 2, 0),
        ("cifar100_resnet32_dynamo", 100, 0, 0),
    ] {
        let path = folder.join(name).with_extension("onnx");
        if !path.exists() {
            eprintln!("skipped: {} is not there", path.display());
            continue;
        }
        let graph = read(&path, None).unwrap().graph;
        let count = |is: fn(&Op) -> bool| graph.nodes.iter().filter(|node| is(&node.op)).count();
        assert_eq!(graph.classes, classes, "{name}");
        assert_eq!(
            count(|op| matches!(op, Op::SubsamplePad { .. })),
            shortcuts,
            "{name}"
        );
        assert_eq!(count(|op| matches!(op, Op::BatchNorm(_))), norms, "{name}");
        assert_eq!(graph.has_batch_norm(), norms > 0);
    }
}
