// Convolution of codes, four input channels at a time. Needs convolution.wgsl.
//
// With codes u and zero points z, the sum of (u_w + z_w) * (u_a + z_a) over all taps is
//     sum of u_w * u_a  +  z_w * sum of u_a  +  constant,
// where the constant holds what does not depend on the image. Codes around the image are those of
// the value 0. Channels and groups start at multiples of four.

// Output positions per invocation, to use unpacked weights and their loads several times.
const POSITIONS: u32 = 4u;
const OUTSIDE: u32 = 0xffffffffu;
const ALL_CHANNELS: u32 = 0x01010101u;

// Per quad of input codes of a tap four codes of each of four output channels.
var<workgroup> weights: array<vec4<u32>, CHUNK>;

@compute @workgroup_size(workgroup_size)
fn conv2d(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let positions = batch.images * layer.output.height * layer.output.width;
    let block = workgroup_size * POSITIONS;
    for (var first = workgroup.x * block; first < positions; first += workgroups.x * block) {
        conv2d_block(first, positions, workgroup.y, lane);
    }
}

fn conv2d_block(first: u32, positions: u32, quad: u32, lane: u32) {
    let group_quads = layer.group_inputs / 4u + select(0u, 1u, layer.group_inputs % 4u != 0u);
    let input_start = quad * 4u / layer.group_outputs * group_quads;
    let entries = layer.kernel.x * layer.kernel.y * group_quads;

    var images: array<u32, POSITIONS>;
    var corners: array<vec2<i32>, POSITIONS>;
    for (var index = 0u; index < POSITIONS; index++) {
        // Behind the last position, the last is computed again and not stored.
        let position = min(first + index * workgroup_size + lane, positions - 1u);
        let at = place(position);
        images[index] = at.image * layer.input.image + input_start;
        corners[index] = vec2<i32>(vec2(at.y, at.x) * layer.stride) - vec2<i32>(layer.padding);
    }

    var sums: array<vec4<u32>, POSITIONS>;
    var totals: array<u32, POSITIONS>;
    var addresses: array<u32, POSITIONS>;
    var tap = vec2(0u);
    var channel_quad = 0u;
    for (var start = 0u; start < entries; start += CHUNK) {
        let count = min(CHUNK, entries - start);
        workgroupBarrier();
        unpack_weights(quad, start, count, lane);
        workgroupBarrier();
        for (var entry = 0u; entry < count; entry++) {
            if channel_quad == 0u {
                for (var index = 0u; index < POSITIONS; index++) {
                    addresses[index] = address(images[index], corners[index] + vec2<i32>(tap));
                }
            }
            let last = channel_quad + 1u == group_quads;
            let channels = select(ALL_CHANNELS, layer.last_channels, last);
            let codes = weights[entry];
            for (var index = 0u; index < POSITIONS; index++) {
                var four = layer.padding_codes;
                if addresses[index] != OUTSIDE {
                    four = input[addresses[index] + channel_quad];
                }
                totals[index] += dot4U8Packed(four, channels);
                sums[index] += vec4(
                    dot4U8Packed(four, codes.x),
                    dot4U8Packed(four, codes.y),
                    dot4U8Packed(four, codes.z),
                    dot4U8Packed(four, codes.w),
                );
            }
            channel_quad += 1u;
            if last {
                channel_quad = 0u;
                tap.y += 1u;
                if tap.y == layer.kernel.y {
                    tap = vec2(tap.x + 1u, 0u);
                }
            }
        }
    }

    let zero_points = channel_words(quad, 5u);
    let constants = channel_words(quad, 6u);
    for (var index = 0u; index < POSITIONS; index++) {
        let position = first + index * workgroup_size + lane;
        if position < positions {
            let products = bitcast<vec4<i32>>(sums[index]);
            let corrections = zero_points * bitcast<i32>(totals[index]) + constants;
            finish(position, quad, products + corrections);
        }
    }
}

fn unpack_weights(quad: u32, start: u32, count: u32, lane: u32) {
    let stream = quad * layer.codes;
    for (var entry = lane; entry < count; entry += workgroup_size) {
        let index = (start + entry) * 4u;
        weights[entry] = vec4(
            four_codes(stream, index, layer.bits),
            four_codes(stream, index + 1u, layer.bits),
            four_codes(stream, index + 2u, layer.bits),
            four_codes(stream, index + 3u, layer.bits),
        );
    }
}

// The first quad of the group in the input at a row and column, or OUTSIDE.
fn address(image: u32, at: vec2<i32>) -> u32 {
    let size = vec2<i32>(vec2(layer.input.height, layer.input.width));
    if any(at < vec2(0)) || any(at >= size) {
        return OUTSIDE;
    }
    return image + u32(at.x * size.y + at.y) * layer.input.quads;
}
