// The epilogue of a convolution: v = clamp((multiplier * sum + bias) >> shift, low, high), floor.
//
// The exact value takes 64 bits, which WGSL does not have: it is held as two 32-bit words in two's
// complement. Channels lie last, so element i belongs to channel i modulo the number of channels.

// A signed 64-bit integer: high * 2^32 + low.
struct Wide {
    low: u32,
    high: i32,
}

struct Channel {
    // At most 2^30 in size.
    multiplier: i32,
    // 1 to 62.
    shift: u32,
    // Below 2^61 in size; contains the rounding constant 2^(shift - 1).
    bias: Wide,
}

struct Range {
    low: i32,
    high: i32,
}

override workgroup_size: u32;

@group(0) @binding(0) var<storage, read> sums: array<i32>;
@group(0) @binding(1) var<storage, read> channels: array<Channel>;
@group(0) @binding(2) var<uniform> range: Range;
@group(0) @binding(3) var<storage, read_write> values: array<i32>;

@compute @workgroup_size(workgroup_size)
fn requantize(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    // One dispatch has a limited number of workgroups, hence the loop.
    let stride = workgroups.x * workgroup_size;
    for (var index = invocation.x; index < arrayLength(&sums); index += stride) {
        let channel = channels[index % arrayLength(&channels)];
        let exact = add(multiply(channel.multiplier, sums[index]), channel.bias);
        let value = saturate_i32(shift_right(exact, channel.shift));
        values[index] = min(max(value, range.low), range.high);
    }
}

fn multiply(a: i32, b: i32) -> Wide {
    let product = multiply_unsigned(bitcast<u32>(a), bitcast<u32>(b));
    // Read as unsigned, a negative number is too large by 2^32.
    let excess = select(0, b, a < 0) + select(0, a, b < 0);
    return Wide(product.low, product.high - excess);
}

// The product in 64 bits, whose upper word is to be read as unsigned.
fn multiply_unsigned(a: u32, b: u32) -> Wide {
    let low = (a & 0xffffu) * (b & 0xffffu);
    // At most 0xffff * 0xffff + 0xffff: neither sum overflows.
    let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
    let high = (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u);
    return Wide((other << 16u) | (low & 0xffffu), bitcast<i32>(high));
}

fn add(a: Wide, b: Wide) -> Wide {
    let low = a.low + b.low;
    return Wide(low, a.high + b.high + select(0, 1, low < a.low));
}

// `value` divided by 2^shift, floor. Shifts by the 32 bits of a word are undefined, so the two
// cases stay apart; `shift` is not 0.
fn shift_right(value: Wide, shift: u32) -> Wide {
    if shift < 32u {
        let carried = bitcast<u32>(value.high) << (32u - shift);
        return Wide((value.low >> shift) | carried, value.high >> shift);
    }
    return Wide(bitcast<u32>(value.high >> (shift - 32u)), value.high >> 31u);
}

// The nearest number in 32 bits: the low word, if the high word only repeats its sign.
fn saturate_i32(value: Wide) -> i32 {
    let low = bitcast<i32>(value.low);
    let end = 0x7fffffff ^ (value.high >> 31u);
    return select(end, low, value.high == (low >> 31u));
}
