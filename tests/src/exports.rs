//! A float network in the files of other programs, as an exporter writes them.

use std::io::Write;
use std::path::Path;

use candle_core::Tensor;
use fs_err::File;
use lowbit_host::graph::{BatchNorm, Conv2d, Graph, Linear, Op, Padding};
use lowbit_host::import::Checkpoint;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Writes the tensors of a checkpoint as `torch.save` does.
///
/// # Panics
/// If the checkpoint cannot be read or the file cannot be written.
pub fn write_pytorch(checkpoint: &Checkpoint, path: &Path) {
    let mut zip = ZipWriter::new(File::create(path).expect("can be written"));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut object = b"\x80\x02}(".to_vec();
    for (key, name) in checkpoint.names().enumerate() {
        let shape = checkpoint.shape(name).expect("is there").to_vec();
        let tensor = checkpoint.tensor(name, &shape).expect("is there");
        object.extend([pickled_text(name), pickled_tensor(key, &tensor)].concat());
        let data = format!("net/data/{key}");
        zip.start_file(data, stored).expect("can be written");
        zip.write_all(&bytes_of(&tensor)).expect("can be written");
    }
    object.extend(b"u.");
    zip.start_file("net/data.pkl", stored)
        .expect("can be written");
    zip.write_all(&object).expect("can be written");
    zip.finish().expect("can be written");
}

/// A call of `_rebuild_tensor_v2`; the numbers are those of storage `key`.
fn pickled_tensor(key: usize, tensor: &Tensor) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        pickled_text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        pickled_text(&key.to_string()),
        pickled_text("cpu"),
        pickled_integer(tensor.elem_count()),
        b"tQ".to_vec(),
        pickled_integer(0),
        pickled_sizes(tensor.dims()),
        pickled_sizes(tensor.stride()),
        b"\x89}tR".to_vec(),
    ]
    .concat()
}

fn pickled_text(text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_le_bytes();
    [b"X", &length[..], text.as_bytes()].concat()
}

fn pickled_integer(value: usize) -> Vec<u8> {
    [&b"J"[..], &(value as u32).to_le_bytes()].concat()
}

fn pickled_sizes(sizes: &[usize]) -> Vec<u8> {
    let sizes: Vec<u8> = sizes
        .iter()
        .flat_map(|&size| pickled_integer(size))
        .collect();
    [b"(", &sizes[..], b"t"].concat()
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let values = tensor.flatten_all().and_then(|all| all.to_vec1::<f32>());
    let values = values.expect("floats").into_iter();
    values.flat_map(f32::to_le_bytes).collect()
}

/// Writes an image classifier as ONNX, its BatchNorm kept.
///
/// # Panics
/// If the network has operators that image classifiers with ReLU do not have, or the file cannot
/// be written.
pub fn write_onnx(graph: &Graph, path: &Path) {
    let [channels, height, width] = graph.input_shape;
    let size = |size: usize| message(1, &[integer(1, size)]);
    let shape = [1, channels, height, width].map(size);
    let tensor = [integer(1, FLOAT), message(2, &shape)];
    let input = message(2, &[message(1, &tensor)]);
    let mut parts = vec![
        text(2, &graph.name),
        message(11, &[text(1, &value(0)), input]),
        message(12, &[text(1, &value(graph.nodes.len() - 1))]),
    ];
    for (index, node) in graph.nodes.iter().enumerate().skip(1) {
        let inputs = node.inputs.iter().map(|input| value(input.0));
        parts.extend(operator(
            &node.name,
            &node.op,
            inputs.collect(),
            &value(index),
        ));
    }
    let operators = message(8, &[integer(2, 17)]);
    let file = [integer(1, 8), operators, message(7, &parts)].concat();
    fs_err::write(path, file).expect("can be written");
}

fn value(node: usize) -> String {
    format!("value{node}")
}

/// A node of the file, the initializers that it reads first.
fn operator(name: &str, op: &Op, mut inputs: Vec<String>, output: &str) -> Vec<Vec<u8>> {
    let (operator, tensors, attributes) = match op {
        Op::Conv2d(conv) => ("Conv", convolution(conv), convolution_attributes(conv)),
        Op::BatchNorm(norm) => ("BatchNormalization", batch_norm(norm), vec![]),
        Op::Relu => ("Relu", vec![], vec![]),
        Op::Add => ("Add", vec![], vec![]),
        Op::MaxPool {
            window,
            stride,
            padding,
        } => {
            let attributes = [
                ("kernel_shape", window.to_vec()),
                ("strides", stride.to_vec()),
                ("pads", sides(padding)),
            ];
            ("MaxPool", vec![], attributes.map(attribute).to_vec())
        }
        Op::GlobalAveragePool => ("GlobalAveragePool", vec![], vec![]),
        Op::Linear(linear) => (
            "Gemm",
            weights(linear),
            vec![attribute(("transB", vec![1]))],
        ),
        other => panic!("`{other:?}` is not exported"),
    };
    let mut parts = Vec::new();
    for (suffix, tensor) in tensors {
        let name = format!("{name}.{suffix}");
        parts.push(message(5, &initializer(&name, tensor)));
        inputs.push(name);
    }
    let mut node: Vec<_> = inputs.iter().map(|input| text(1, input)).collect();
    node.extend([text(2, output), text(3, name), text(4, operator)]);
    node.extend(attributes);
    parts.push(message(1, &node));
    parts
}

type Tensors<'a> = Vec<(&'static str, &'a Tensor)>;

fn convolution(conv: &Conv2d) -> Tensors<'_> {
    let bias = conv.bias.iter().map(|bias| ("bias", bias));
    [("weight", &conv.weight)].into_iter().chain(bias).collect()
}

fn convolution_attributes(conv: &Conv2d) -> Vec<Vec<u8>> {
    let attributes = [
        ("strides", vec![conv.stride; 2]),
        ("pads", sides(&conv.padding)),
    ];
    attributes.map(attribute).to_vec()
}

fn batch_norm(norm: &BatchNorm) -> Tensors<'_> {
    vec![
        ("weight", norm.weight.as_ref().expect("is there")),
        ("bias", norm.bias.as_ref().expect("is there")),
        ("running_mean", &norm.running_mean),
        ("running_var", &norm.running_var),
    ]
}

fn weights(linear: &Linear) -> Tensors<'_> {
    let bias = linear.bias.iter().map(|bias| ("bias", bias));
    let weight = [("weight", &linear.weight)].into_iter();
    weight.chain(bias).collect()
}

fn sides(padding: &Padding) -> Vec<usize> {
    vec![padding.top, padding.left, padding.bottom, padding.right]
}

/// `FLOAT` of the schema.
const FLOAT: usize = 1;

fn initializer(name: &str, tensor: &Tensor) -> Vec<Vec<u8>> {
    let mut parts: Vec<_> = tensor.dims().iter().map(|&size| integer(1, size)).collect();
    parts.extend([
        integer(2, FLOAT),
        text(8, name),
        bytes(9, &bytes_of(tensor)),
    ]);
    parts
}

/// A single number is given as such and as a list.
fn attribute((name, values): (&str, Vec<usize>)) -> Vec<u8> {
    let mut parts = vec![text(1, name), integer(3, values[0])];
    parts.extend(values.iter().map(|&value| integer(8, value)));
    message(5, &parts)
}

/// A field that is a message.
fn message(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(tag, &parts.concat())
}

fn text(tag: u8, text: &str) -> Vec<u8> {
    bytes(tag, text.as_bytes())
}

fn bytes(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2], &varint(content.len())[..], content].concat()
}

fn integer(tag: u8, value: usize) -> Vec<u8> {
    [&[tag << 3], &varint(value)[..]].concat()
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
