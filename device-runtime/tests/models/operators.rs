//! Every operator against plain loops over 64-bit integers, through file, check and engine.

use crate::support::{ConvCase, Element, Network, Shortcut};
use proptest::prelude::*;

fn element() -> impl Strategy<Value = Element> {
    prop_oneof![
        4 => (1u8..=8, prop_oneof![Just(0), -300i32..=300])
            .prop_map(|(bits, zero_point)| Element::Code { bits, zero_point }),
        1 => Just(Element::Value16),
    ]
}

prop_compose! {
    fn conv_case(channels: u16)(
        kernel in [1u8..=5, 1u8..=5],
        stride in [1u8..=3, 1u8..=3],
        pad in [0u8..=4, 0u8..=4],
        groups in prop_oneof![3 => Just(1), 1 => Just(channels), 1 => Just(1 + u16::from(channels.is_multiple_of(2)))],
        outputs_per_group in 1u16..=5,
        weight_bits in 2u8..=8,
        output in element(),
        tile in 1u32..=40,
        spare in 0u32..=40,
    ) -> ConvCase {
        let padding = [0, 1].map(|axis: usize| pad[axis].min(kernel[axis] - 1));
        ConvCase { kernel, stride, padding, groups, outputs_per_group, weight_bits, output, tile, spare }
    }
}

/// Kernels that are not larger than the padded image.
fn fits(case: &ConvCase, height: u16, width: u16) -> bool {
    let fits = |axis: usize, length: u16| {
        u16::from(case.kernel[axis]) <= length + 2 * u16::from(case.padding[axis])
    };
    fits(0, height) && fits(1, width)
}

/// A 1x1 convolution with `outputs` channels.
fn pointwise(outputs: u16, output: Element) -> ConvCase {
    ConvCase {
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
        groups: 1,
        outputs_per_group: outputs,
        weight_bits: 4,
        output,
        tile: 3,
        spare: 0,
    }
}

fn image() -> impl Strategy<Value = [u16; 3]> {
    prop_oneof![
        1 => (1u16..=12).prop_map(|channels| [1, 1, channels]),
        5 => [1u16..=9, 1u16..=9, 1u16..=12],
    ]
}

fn image_and_conv() -> impl Strategy<Value = ([u16; 3], ConvCase)> {
    image().prop_flat_map(|image| {
        let fits = move |case: &ConvCase| fits(case, image[0], image[1]);
        (
            Just(image),
            conv_case(image[2]).prop_filter("kernel fits", fits),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn convolution(
        (image, case) in image_and_conv(),
        input in element(),
        seed in any::<u64>(),
    ) {
        let mut network = Network::new(seed, image, input);
        network.conv(0, &case, Shortcut::None);
        network.logits(3, 5);
        prop_assert_eq!(network.verify(), Ok(()));
    }

    /// The weights' zero points alone make sums with codes that 32 bits do not hold, though every
    /// accumulator fits.
    #[test]
    fn convolution_of_extreme_numbers(
        channels in 35u16..=56,
        size in [3u16..=6, 3u16..=6],
        stride in 1u8..=2,
        padding in 0u8..=1,
        outputs_per_group in 1u16..=5,
        weight_bits in 2u8..=8,
        output in element(),
        projected in any::<bool>(),
        tile in 1u32..=20,
        seed in any::<u64>(),
    ) {
        let image = [size[0], size[1], channels];
        let input = Element::Code { bits: 8, zero_point: -128 };
        let case = ConvCase {
            kernel: [3; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            groups: 1,
            outputs_per_group,
            weight_bits,
            output,
            tile,
            spare: 0,
        };
        let mut network = Network::extreme(seed, image, input);
        let shortcut = match (projected, padding) {
            (true, 1) => Shortcut::Projection(0, stride, 8),
            _ => Shortcut::None,
        };
        network.conv(0, &case, shortcut);
        network.logits(3, 5);
        prop_assert_eq!(network.verify(), Ok(()));
    }

    /// Channels that always have the same value, in tensors of any zero point.
    #[test]
    fn depthwise_convolution_with_extreme_shifts(
        image in image(),
        elements in [element(), element()],
        weight_bits in 2u8..=8,
        tile in 1u32..=20,
        seed in any::<u64>(),
    ) {
        let [input, output] = elements;
        let case = ConvCase {
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 2],
            groups: image[2],
            outputs_per_group: 1,
            weight_bits,
            output,
            tile,
            spare: 0,
        };
        let mut network = Network::extreme(seed, image, input);
        network.conv(0, &case, Shortcut::None);
        network.logits(3, 5);
        prop_assert_eq!(network.verify(), Ok(()));
    }

    #[test]
    fn convolution_with_projection(
        (image, case) in image_and_conv(),
        input in element(),
        projection_bits in 2u8..=8,
        seed in any::<u64>(),
    ) {
        // With this padding the second convolution can match the size by stride alone.
        let case = ConvCase { kernel: [3, 3], padding: [1, 1], stride: [case.stride[0]; 2], ..case };
        let mut network = Network::new(seed, image, input);
        network.conv(0, &case, Shortcut::Projection(0, case.stride[0], projection_bits));
        network.logits(2, 3);
        prop_assert_eq!(network.verify(), Ok(()));
    }

    #[test]
    fn convolution_with_identity(
        (image, case) in image_and_conv(),
        input in element(),
        channel_offset in 0u16..=3,
        spare_channels in 0u16..=3,
        seed in any::<u64>(),
    ) {
        let case = ConvCase {
            kernel: [3, 3],
            padding: [1, 1],
            stride: [case.stride[0]; 2],
            groups: 1,
            outputs_per_group: image[2] + channel_offset + spare_channels,
            ..case
        };
        let mut network = Network::new(seed, image, input);
        network.conv(0, &case, Shortcut::Identity(0, case.stride[0], channel_offset));
        network.logits(2, 2);
        prop_assert_eq!(network.verify(), Ok(()));
    }

    #[test]
    fn convolution_in_place_of_its_shortcut(
        image in image(),
        elements in [element(), element(), element()],
        seed in any::<u64>(),
        tile in 1u32..=20,
    ) {
        let [input, skipped, middle] = elements;
        let mut network = Network::new(seed, image, input);
        let skip = network.conv(0, &pointwise(image[2], skipped), Shortcut::None);
        let body = network.conv(skip, &pointwise(4, middle), Shortcut::None);
        let last = ConvCase { tile, ..pointwise(image[2], skipped) };
        network.conv(body, &last, Shortcut::InPlace(skip));
        network.logits(3, 8);
        prop_assert_eq!(network.verify(), Ok(()));
    }

    #[test]
    fn addition(
        image in image(),
        elements in [element(), element(), element()],
        in_place in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let [input, right, output] = elements;
        let output = if in_place { right } else { output };
        let mut network = Network::new(seed, image, input);
        let right = network.conv(0, &pointwise(image[2], right), Shortcut::None);
        network.add(0, right, output, in_place);
        network.logits(3, 4);
        prop_assert_eq!(network.verify(), Ok(()));
    }

    #[test]
    fn pools(
        image in image(),
        input in element(),
        output in element(),
        window in [1u8..=4, 1u8..=4],
        stride in [1u8..=3, 1u8..=3],
        padding in [0u8..=3, 0u8..=3],
        seed in any::<u64>(),
    ) {
        let window = [0, 1].map(|axis: usize| window[axis].min(image[axis] as u8));
        let padding = [0, 1].map(|axis: usize| padding[axis].min(window[axis] - 1));
        let mut network = Network::new(seed, image, input);
        network.max_pool(0, [window, stride, padding]);
        network.average_pool(0, window, stride, output);
        network.sum_pool(0, window, stride);
        network.logits(3, 6);
        prop_assert_eq!(network.verify(), Ok(()));
    }
}

/// Two residual blocks, a projection and a classifier, as in a small ResNet.
#[test]
fn residual_network() {
    let code = |bits| Element::Code {
        bits,
        zero_point: 0,
    };
    let conv = |outputs, stride, bits| ConvCase {
        kernel: [3, 3],
        stride: [stride; 2],
        padding: [1, 1],
        groups: 1,
        outputs_per_group: outputs,
        weight_bits: bits,
        output: code(bits),
        tile: 7,
        spare: 0,
    };
    for bits in 2..=8 {
        let mut network = Network::new(bits.into(), [16, 16, 3], Element::Value16);
        let stem = network.conv(0, &conv(8, 1, bits), Shortcut::None);
        let body = network.conv(stem, &conv(8, 1, bits), Shortcut::None);
        let block = network.conv(body, &conv(8, 1, bits), Shortcut::Identity(stem, 1, 0));
        let body = network.conv(block, &conv(16, 2, bits), Shortcut::None);
        network.conv(
            body,
            &conv(16, 1, bits),
            Shortcut::Projection(block, 2, bits),
        );
        network.sum_pool(network.last(), [8, 8], [8, 8]);
        network.logits(10, bits);
        assert_eq!(network.verify(), Ok(()), "{bits} bits");
    }
}
