// Convolution of values of any type with any groups, one input channel at a time: depthwise
// convolutions, and those that conv2d.wgsl does not take. Needs convolution.wgsl.

// Per tap the weights of four output channels.
var<workgroup> weights: array<vec4<i32>, CHUNK>;

@compute @workgroup_size(workgroup_size)
fn conv2d_values(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let positions = batch.images * layer.output.height * layer.output.width;
    let stride = workgroups.x * workgroup_size;
    for (var first = workgroup.x * workgroup_size; first < positions; first += stride) {
        values_block(first + lane, positions, workgroup.y, lane);
    }
}

fn values_block(position: u32, positions: u32, quad: u32, lane: u32) {
    let taps = layer.kernel.x * layer.kernel.y * layer.group_inputs;
    let at = place(min(position, positions - 1u));
    let image = at.image * layer.input.image;
    let corner = vec2<i32>(vec2(at.y, at.x) * layer.stride) - vec2<i32>(layer.padding);
    var sums = vec4(0);
    var tap = vec2(0u);
    var channel = 0u;
    for (var start = 0u; start < taps; start += CHUNK) {
        let count = min(CHUNK, taps - start);
        workgroupBarrier();
        unpack_weights(quad, start, count, lane);
        workgroupBarrier();
        for (var entry = 0u; entry < count; entry++) {
            sums += values_at(image, corner + vec2<i32>(tap), quad, channel) * weights[entry];
            channel += 1u;
            if channel == layer.group_inputs {
                channel = 0u;
                tap.y += 1u;
                if tap.y == layer.kernel.y {
                    tap = vec2(tap.x + 1u, 0u);
                }
            }
        }
    }
    if position < positions {
        finish(position, quad, sums);
    }
}

fn unpack_weights(quad: u32, start: u32, count: u32, lane: u32) {
    let zero_points = channel_words(quad, 5u);
    for (var entry = lane; entry < count; entry += workgroup_size) {
        let codes = four_codes(quad * layer.codes, start + entry, layer.bits);
        weights[entry] = vec4<i32>(unpack4xU8(codes)) + zero_points;
    }
}

// What each of a quad of output channels reads at a row and column, from channel `channel` of its
// group.
fn values_at(image: u32, at: vec2<i32>, quad: u32, channel: u32) -> vec4<i32> {
    let size = vec2<i32>(vec2(layer.input.height, layer.input.width));
    if any(at < vec2(0)) || any(at >= size) {
        return vec4(0);
    }
    let pixel = image + u32(at.x * size.y + at.y) * layer.input.quads;
    if layer.group_inputs == 1u && layer.group_outputs == 1u {
        return input_quad(layer.input, pixel + quad);
    }
    let first = quad * 4u;
    if first / layer.group_outputs == (first + 3u) / layer.group_outputs {
        return vec4(value_at(pixel, first, channel));
    }
    return vec4(
        value_at(pixel, first, channel),
        value_at(pixel, first + 1u, channel),
        value_at(pixel, first + 2u, channel),
        value_at(pixel, first + 3u, channel),
    );
}

fn value_at(pixel: u32, output_channel: u32, channel: u32) -> i32 {
    let index = output_channel / layer.group_outputs * layer.group_inputs + channel;
    // Output channels behind the last may belong to a group that does not exist.
    let existing = min(index, layer.input.channels - 1u);
    return input_quad(layer.input, pixel + existing / 4u)[existing % 4u];
}
