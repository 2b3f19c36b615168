// Windows of an image, reduced to one value per channel. Needs operator.wgsl. What lies outside the
// image takes no part. The parameters are the affine map of an average.

struct Pool {
    input: Tensor,
    output: Tensor,
    // Rows and columns, like the following.
    window: vec2<u32>,
    stride: vec2<u32>,
    // Above and left of the image.
    padding: vec2<u32>,
    // One of the constants below.
    reduction: u32,
    low: i32,
    high: i32,
}

const MAX: u32 = 0u;
const SUM: u32 = 1u;
const AVERAGE: u32 = 2u;

@group(0) @binding(0) var<uniform> layer: Pool;

@compute @workgroup_size(workgroup_size)
fn pool(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let quads = batch.images * layer.output.image;
    let stride = workgroups.x * workgroup_size;
    for (var quad = invocation.x; quad < quads; quad += stride) {
        let reduced = reduce(quad);
        store_quad(layer.output, quad, select(reduced, averages(reduced), layer.reduction == AVERAGE));
    }
}

fn reduce(quad: u32) -> vec4<i32> {
    let image = quad / layer.output.image * layer.input.image;
    let channels = quad % layer.output.quads;
    let pixel = quad % layer.output.image / layer.output.quads;
    let at = vec2(pixel / layer.output.width, pixel % layer.output.width);
    let start = at * layer.stride;
    let end = max(start + layer.window, layer.padding) - layer.padding;
    let first = max(start, layer.padding) - layer.padding;
    let last = min(end, vec2(layer.input.height, layer.input.width));
    let is_max = layer.reduction == MAX;
    var total = vec4(select(0, -0x7fffffff - 1, is_max));
    for (var y = first.x; y < last.x; y++) {
        for (var x = first.y; x < last.y; x++) {
            let place = image + (y * layer.input.width + x) * layer.input.quads + channels;
            let values = input_quad(layer.input, place);
            total = select(total + values, max(total, values), is_max);
        }
    }
    return total;
}

fn averages(sums: vec4<i32>) -> vec4<i32> {
    return vec4(average(sums.x), average(sums.y), average(sums.z), average(sums.w));
}

fn average(sum: i32) -> i32 {
    return requantized(affine_at(0u), sum, Wide(0u, 0), layer.low, layer.high);
}
