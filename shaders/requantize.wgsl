// The epilogue of a convolution by itself: clamp((multiplier * sum + bias) >> shift, low, high).
// Needs wide.wgsl. Channels lie last, so element i belongs to channel i modulo their number.

struct Range {
    low: i32,
    high: i32,
}

override workgroup_size: u32;

@group(0) @binding(0) var<storage, read> sums: array<i32>;
@group(0) @binding(1) var<storage, read> channels: array<Affine>;
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
        let affine = channels[index % arrayLength(&channels)];
        values[index] = requantized(affine, sums[index], Wide(0u, 0), range.low, range.high);
    }
}
