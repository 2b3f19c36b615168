// The classifier: saturate((multiplier * sum + bias) >> shift) with sums of 64 bits. Needs
// operator.wgsl. The parameters are the weights of class after class, then the classes'
// CLASS_WORDS: an affine map, a word without meaning and the zero point of the weights.

struct Linear {
    input: Tensor,
    output: Tensor,
    // Of a weight.
    bits: u32,
    // Words from the weights of a class to those of the next.
    codes: u32,
    // Where the parameters of classes start.
    classes: u32,
}

const CLASS_WORDS: u32 = 8u;

@group(0) @binding(0) var<uniform> layer: Linear;

@compute @workgroup_size(workgroup_size)
fn linear(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let stride = workgroups.x * workgroup_size;
    let count = batch.images * layer.output.channels;
    for (var index = invocation.x; index < count; index += stride) {
        let class_index = index % layer.output.channels;
        let image = index / layer.output.channels;
        let word = layer.classes + class_index * CLASS_WORDS;
        let affine = affine_at(word);
        let zero_point = bitcast<i32>(parameters[word + 5u]);
        let sum = products(image * layer.input.image, class_index * layer.codes, zero_point);
        let exact = add(multiply_wide(affine.multiplier, sum), affine.bias);
        let logit = saturate_i32(shift_right(exact, affine.shift));
        output[image * layer.output.image * 4u + class_index] = bitcast<u32>(logit);
    }
}

fn products(first: u32, stream: u32, zero_point: i32) -> Wide {
    var total = Wide(0u, 0);
    for (var quad = 0u; quad < layer.input.image; quad++) {
        let first_channel = quad % layer.input.quads * 4u;
        let channels = vec4(first_channel) + vec4(0u, 1u, 2u, 3u);
        let exists = channels < vec4(layer.input.channels);
        let values = select(vec4(0), input_quad(layer.input, first + quad), exists);
        let codes = vec4<i32>(unpack4xU8(four_codes(stream, quad, layer.bits))) + zero_point;
        total = add(total, multiply(codes.x, values.x));
        total = add(total, multiply(codes.y, values.y));
        total = add(total, multiply(codes.z, values.z));
        total = add(total, multiply(codes.w, values.w));
    }
    return total;
}
