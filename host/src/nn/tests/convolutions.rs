//! Convolutions, also of upsampled images.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{check, conv, convolutions, graph, options, random};
use crate::dfq::golden::flat;
use crate::graph::{Conv2d, Graph, Node, NodeId, Op, Padding, ParameterName};
use crate::nn::executor::{BatchStatistics, ExtraGradients, Wanted, backward, forward};
use crate::nn::values::values;

/// Sums of products of these numbers are exact in single precision, in any order.
fn assert_plain_loops(batch: usize) {
    for (index, (conv, input_shape)) in convolutions().into_iter().enumerate() {
        let [channels, height, width] = input_shape;
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let input = random(&[batch, channels, height, width], &mut rng);
        let network = graph(input_shape, vec![(Op::Conv2d(conv.clone()), vec![0])]);
        let pass = forward(&network, &input, options(BatchStatistics::Running), &mut ()).unwrap();
        let &[_, outs, rows, columns] = pass.output().dims() else {
            panic!("no image")
        };
        let &[_, group_channels, kernel_rows, kernel_columns] = conv.weight.dims() else {
            panic!("no weight")
        };
        let (x, w) = (values(&input).unwrap(), values(&conv.weight).unwrap());
        for (position, found) in values(pass.output()).unwrap().iter().enumerate() {
            let (image, out) = (
                position / (outs * rows * columns),
                position / (rows * columns) % outs,
            );
            let (oy, ox) = (position / columns % rows, position % columns);
            let group = out / (outs / conv.groups);
            let mut expected = conv
                .bias
                .as_ref()
                .map_or(0.0, |bias| values(bias).unwrap()[out]);
            for tap in 0..group_channels * kernel_rows * kernel_columns {
                let (c, ky) = (
                    tap / (kernel_rows * kernel_columns),
                    tap / kernel_columns % kernel_rows,
                );
                let kx = tap % kernel_columns;
                let y = (oy * conv.stride + ky).wrapping_sub(conv.padding.top);
                let x_position = (ox * conv.stride + kx).wrapping_sub(conv.padding.left);
                if y < height && x_position < width {
                    let channel = image * channels + group * group_channels + c;
                    expected += x[(channel * height + y) * width + x_position]
                        * w[(out * group_channels + c) * kernel_rows * kernel_columns
                            + ky * kernel_columns
                            + kx];
                }
            }
            assert!(*found == expected, "case {index}: {found}, not {expected}");
        }
    }
}

#[test]
fn convolution_equals_plain_loops() {
    assert_plain_loops(2);
}

#[test]
fn convolution_of_more_samples_than_a_vector_holds_equals_plain_loops() {
    assert_plain_loops(19);
}

#[test]
fn convolution_gradients() {
    for (index, (conv, input_shape)) in convolutions().into_iter().enumerate() {
        let network = graph(input_shape, vec![(Op::Conv2d(conv), vec![0])]);
        check(&network, 6, BatchStatistics::Running, index as u64);
        check(&network, 19, BatchStatistics::Running, index as u64);
    }
}

#[test]
fn wide_convolution_gradients_use_whole_tiles() {
    let conv = conv([12, 8, 3, 3], 1, Padding::same(1), 1, true);
    check(
        &graph([8, 6, 7], vec![(Op::Conv2d(conv), vec![0])]),
        2,
        BatchStatistics::Running,
        3,
    );
}

/// An upsampling and a convolution of what it gives, with sizes on which each factor, kernel and
/// padding meets the edges of the image differently.
fn upsampled_convolutions() -> Vec<(usize, Conv2d, [usize; 3])> {
    let odd = Padding {
        top: 0,
        left: 1,
        bottom: 3,
        right: 0,
    };
    vec![
        (
            2,
            conv([5, 3, 3, 3], 1, Padding::same(1), 1, true),
            [3, 4, 3],
        ),
        (2, conv([4, 2, 3, 3], 1, odd, 2, true), [4, 3, 5]),
        (
            2,
            conv([3, 1, 5, 5], 1, Padding::same(2), 3, false),
            [3, 2, 4],
        ),
        (3, conv([2, 3, 3, 2], 1, odd, 1, true), [3, 2, 3]),
        (
            2,
            conv([9, 4, 1, 1], 1, Padding::same(0), 1, false),
            [4, 3, 3],
        ),
        (
            2,
            conv([2, 2, 4, 4], 1, Padding::same(0), 1, true),
            [2, 2, 2],
        ),
        (
            2,
            conv([6, 60, 3, 3], 1, Padding::same(1), 1, true),
            [60, 2, 11],
        ),
    ]
}

#[test]
fn upsampled_convolution_equals_upsampling_and_convolution() {
    let wanted = Wanted {
        input: true,
        parameters: true,
    };
    let weight = ParameterName::Weight;
    for (factor, conv, input_shape) in upsampled_convolutions() {
        let network = graph(
            input_shape,
            vec![
                (Op::Upsample { factor }, vec![0]),
                (Op::Conv2d(conv.clone()), vec![1]),
            ],
        );
        // Something else that reads the large image keeps the two apart.
        let mut apart = network.clone();
        apart.nodes.push(Node {
            name: "reader".into(),
            op: Op::Relu,
            inputs: vec![NodeId(1)],
        });
        apart.nodes.swap(2, 3);
        for batch in [2, 19] {
            let mut rng = ChaCha8Rng::seed_from_u64(9);
            let [channels, height, width] = input_shape;
            let input = random(&[batch, channels, height, width], &mut rng);
            let run = |graph: &Graph| {
                let options = options(BatchStatistics::Running);
                let pass = forward(graph, &input, options, &mut ()).unwrap();
                let cotangent = random(pass.output().dims(), &mut ChaCha8Rng::seed_from_u64(1));
                let extra = ExtraGradients::default();
                let gradients = backward(graph, &pass, &cotangent, wanted, &extra).unwrap();
                (pass, gradients)
            };
            let (pass, found) = run(&network);
            let (plain, expected) = run(&apart);
            assert_eq!(pass.value(NodeId(1)).unwrap().dims(), input.dims());
            assert!(plain.value(NodeId(1)).unwrap().elem_count() > input.elem_count());
            let of_weight = [
                &found.parameters[&(NodeId(2), weight)],
                &expected.parameters[&(NodeId(3), weight)],
            ];
            // Sums of products of these numbers are exact in single precision, in any order.
            assert_eq!(flat(pass.output()), flat(plain.output()), "{conv:?}");
            assert_eq!(flat(&found.input.unwrap()), flat(&expected.input.unwrap()));
            assert_eq!(flat(of_weight[0]), flat(of_weight[1]), "{conv:?}");
        }
    }
}

#[test]
fn upsampled_convolution_gradients() {
    for (index, (factor, conv, input_shape)) in upsampled_convolutions().into_iter().enumerate() {
        let ops = vec![
            (Op::Upsample { factor }, vec![0]),
            (Op::Conv2d(conv), vec![1]),
        ];
        check(
            &graph(input_shape, ops),
            3,
            BatchStatistics::Running,
            index as u64,
        );
    }
}
