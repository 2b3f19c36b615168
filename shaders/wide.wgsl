// Signed 64-bit integers, which WGSL does not have: high * 2^32 + low, in two's complement. Sums
// and products wrap, so only their exact value has to fit 64 bits.

struct Wide {
    low: u32,
    high: i32,
}

fn widened(value: i32) -> Wide {
    return Wide(bitcast<u32>(value), value >> 31u);
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

fn multiply_wide(a: i32, b: Wide) -> Wide {
    let product = multiply_unsigned(bitcast<u32>(a), b.low);
    let excess = select(0, bitcast<i32>(b.low), a < 0);
    return Wide(product.low, product.high + a * b.high - excess);
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

// From a sum of products to a value: multiplier at most 2^30 in size, shift 1 to 62, bias below
// 2^61 in size and with the rounding constant 2^(shift - 1).
struct Affine {
    multiplier: i32,
    shift: u32,
    bias: Wide,
}

// clamp((multiplier * sum + addend + bias) >> shift, low, high), floor.
fn requantized(affine: Affine, sum: i32, addend: Wide, low: i32, high: i32) -> i32 {
    let exact = add(add(multiply(affine.multiplier, sum), addend), affine.bias);
    let value = saturate_i32(shift_right(exact, affine.shift));
    return min(max(value, low), high);
}
