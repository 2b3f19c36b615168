// What the convolutions share. Needs operator.wgsl.
//
// A workgroup computes one quad of output channels at many positions. It unpacks their weights into
// workgroup memory, at most CHUNK quads of codes at a time, and all its invocations use them.

struct Convolution {
    input: Tensor,
    output: Tensor,
    addend: Tensor,
    // Rows and columns, like the following.
    kernel: vec2<u32>,
    stride: vec2<u32>,
    // Above and left of the image.
    padding: vec2<u32>,
    // Channels per group.
    group_inputs: u32,
    group_outputs: u32,
    // Of a weight.
    bits: u32,
    // Words from the weights of a quad of output channels to those of the next.
    codes: u32,
    // Where the parameters of channels start, CHANNEL_WORDS each; the weights come first.
    channels: u32,
    low: i32,
    high: i32,
    // One of the constants below.
    finish: u32,
    addend_stride: u32,
    // Output channel that the first channel of the addend belongs to.
    addend_offset: u32,
    // Four times the code of the value 0, which lies around the image.
    padding_codes: u32,
    // 1 in each byte of the last input quad of a pixel that is a channel.
    last_channels: u32,
}

// Stores sums as they are.
const SUMS: u32 = 0u;
// Requantizes them.
const REQUANTIZE: u32 = 1u;
// Adds another tensor before that.
const ADD: u32 = 2u;

// Multiplier, shift and bias; multiplier of the addend; zero point of the weights; constant.
const CHANNEL_WORDS: u32 = 8u;
// Quads of codes.
const CHUNK: u32 = 256u;

@group(0) @binding(0) var<uniform> layer: Convolution;

struct Place {
    image: u32,
    y: u32,
    x: u32,
}

// The output position of an index that counts all images' positions.
fn place(position: u32) -> Place {
    let area = layer.output.height * layer.output.width;
    let pixel = position % area;
    return Place(position / area, pixel / layer.output.width, pixel % layer.output.width);
}

fn channel_word(quad: u32, index: u32) -> u32 {
    return layer.channels + (quad * 4u + index) * CHANNEL_WORDS;
}

// Word `offset` of the parameters of a quad of channels.
fn channel_words(quad: u32, offset: u32) -> vec4<i32> {
    let word = channel_word(quad, 0u) + offset;
    return bitcast<vec4<i32>>(vec4(
        parameters[word],
        parameters[word + CHANNEL_WORDS],
        parameters[word + 2u * CHANNEL_WORDS],
        parameters[word + 3u * CHANNEL_WORDS],
    ));
}

// Turns the sums of a quad of channels at an output position into its values and stores them.
fn finish(position: u32, quad: u32, sums: vec4<i32>) {
    let quad_index = position * layer.output.quads + quad;
    if layer.finish == SUMS {
        store_quad(layer.output, quad_index, sums);
        return;
    }
    var addends = vec4(0);
    if layer.finish == ADD {
        addends = addends_at(place(position), quad);
    }
    store_quad(layer.output, quad_index, vec4(
        finished(channel_word(quad, 0u), sums.x, addends.x),
        finished(channel_word(quad, 1u), sums.y, addends.y),
        finished(channel_word(quad, 2u), sums.z, addends.z),
        finished(channel_word(quad, 3u), sums.w, addends.w),
    ));
}

fn finished(word: u32, sum: i32, value: i32) -> i32 {
    let scaled = multiply(bitcast<i32>(parameters[word + 4u]), value);
    return requantized(affine_at(word), sum, scaled, layer.low, layer.high);
}

// 0 beside the channels of the addend.
fn addends_at(at: Place, quad: u32) -> vec4<i32> {
    let row = at.y * layer.addend_stride * layer.addend.width;
    let pixel = row + at.x * layer.addend_stride;
    let first = at.image * layer.addend.image + pixel * layer.addend.quads;
    if layer.addend_offset == 0u && quad < layer.addend.quads {
        let values = addend_quad(layer.addend, first + quad);
        let channel = quad * 4u;
        let channels = vec4(channel, channel + 1u, channel + 2u, channel + 3u);
        return select(vec4(0), values, channels < vec4(layer.addend.channels));
    }
    var values = vec4(0);
    for (var index = 0u; index < 4u; index++) {
        // Wraps to a channel that does not exist below the first.
        let channel = quad * 4u + index - layer.addend_offset;
        if channel < layer.addend.channels {
            values[index] = addend_quad(layer.addend, first + channel / 4u)[channel % 4u];
        }
    }
    return values;
}
