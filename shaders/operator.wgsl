// What all operators of a network share: the buffers that they are bound to, and tensors in them.
// Needs wide.wgsl.
//
// A tensor holds image after image, row major, channels last, in quads of four channels. A quad of
// codes is one word, of 16-bit values two words, of 32-bit values four. Channels behind the last
// are 0 where they are stored.

struct Tensor {
    height: u32,
    width: u32,
    channels: u32,
    // Per pixel.
    quads: u32,
    // Quads per image.
    image: u32,
    // Words per quad.
    words: u32,
    // Added to codes.
    zero_point: i32,
    unused: u32,
}

struct Batch {
    images: u32,
}

override workgroup_size: u32;

// Binding 0 holds what the operator itself is about.
@group(0) @binding(1) var<uniform> batch: Batch;
@group(0) @binding(2) var<storage, read> input: array<u32>;
@group(0) @binding(3) var<storage, read> parameters: array<u32>;
@group(0) @binding(4) var<storage, read> addend: array<u32>;
@group(0) @binding(5) var<storage, read_write> output: array<u32>;

const SIXTEENS = vec2<u32>(16u, 16u);

// Both 16-bit halves, the lower first.
fn halves(word: u32) -> vec2<i32> {
    return vec2(bitcast<i32>(word << 16u), bitcast<i32>(word)) >> SIXTEENS;
}

fn input_quad(tensor: Tensor, quad: u32) -> vec4<i32> {
    let word = quad * tensor.words;
    switch tensor.words {
        case 1u: {
            return vec4<i32>(unpack4xU8(input[word])) + tensor.zero_point;
        }
        case 2u: {
            return vec4(halves(input[word]), halves(input[word + 1u]));
        }
        default: {
            return bitcast<vec4<i32>>(
                vec4(input[word], input[word + 1u], input[word + 2u], input[word + 3u])
            );
        }
    }
}

fn addend_quad(tensor: Tensor, quad: u32) -> vec4<i32> {
    let word = quad * tensor.words;
    switch tensor.words {
        case 1u: {
            return vec4<i32>(unpack4xU8(addend[word])) + tensor.zero_point;
        }
        case 2u: {
            return vec4(halves(addend[word]), halves(addend[word + 1u]));
        }
        default: {
            return bitcast<vec4<i32>>(
                vec4(addend[word], addend[word + 1u], addend[word + 2u], addend[word + 3u])
            );
        }
    }
}

// Writes the channels `4 * (quad % tensor.quads) ..`.
fn store_quad(tensor: Tensor, quad: u32, values: vec4<i32>) {
    let first = quad % tensor.quads * 4u;
    let exists = vec4(first, first + 1u, first + 2u, first + 3u) < vec4(tensor.channels);
    let stored = select(vec4(0u), bitcast<vec4<u32>>(values - tensor.zero_point), exists);
    let word = quad * tensor.words;
    switch tensor.words {
        case 1u: {
            output[word] = stored.x | (stored.y << 8u) | (stored.z << 16u) | (stored.w << 24u);
        }
        case 2u: {
            output[word] = (stored.x & 0xffffu) | (stored.y << 16u);
            output[word + 1u] = (stored.z & 0xffffu) | (stored.w << 16u);
        }
        default: {
            output[word] = stored.x;
            output[word + 1u] = stored.y;
            output[word + 2u] = stored.z;
            output[word + 3u] = stored.w;
        }
    }
}

// Four codes of `bits` bits, one per byte: those at `4 * index ..` of the stream that starts at
// word `start` of the parameters. A stream has a spare word behind its end.
fn four_codes(start: u32, index: u32, bits: u32) -> u32 {
    let bit = index * 4u * bits;
    let word = start + bit / 32u;
    let shift = bit % 32u;
    // In two steps, as a shift by 32 is undefined.
    let upper = (parameters[word + 1u] << (31u - shift)) << 1u;
    let packed = (parameters[word] >> shift) | upper;
    let mask = (1u << bits) - 1u;
    let second = ((packed >> bits) & mask) << 8u;
    let third = ((packed >> (2u * bits)) & mask) << 16u;
    let fourth = ((packed >> (3u * bits)) & mask) << 24u;
    return (packed & mask) | second | third | fourth;
}

// The affine map at a word of the parameters.
fn affine_at(word: u32) -> Affine {
    let bias = Wide(parameters[word + 2u], bitcast<i32>(parameters[word + 3u]));
    return Affine(bitcast<i32>(parameters[word]), parameters[word + 1u], bias);
}
