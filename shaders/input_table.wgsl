// Pixels to values by table: table[pixel * channels + channel], one word each, in the parameters.
// Needs operator.wgsl. The input holds image after image of bytes, each from a whole word on.

struct InputTable {
    output: Tensor,
    // Words per image.
    pixels: u32,
}

@group(0) @binding(0) var<uniform> layer: InputTable;

@compute @workgroup_size(workgroup_size)
fn input_table(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let quads = batch.images * layer.output.image;
    let stride = workgroups.x * workgroup_size;
    for (var quad = invocation.x; quad < quads; quad += stride) {
        let image = quad / layer.output.image;
        let pixel = quad % layer.output.image / layer.output.quads;
        let first = quad % layer.output.quads * 4u;
        var values = vec4(0);
        for (var index = 0u; index < min(4u, layer.output.channels - first); index++) {
            let channel = first + index;
            let byte = pixel * layer.output.channels + channel;
            let word = input[image * layer.pixels + byte / 4u];
            let code = (word >> (byte % 4u * 8u)) & 0xffu;
            values[index] = bitcast<i32>(parameters[code * layer.output.channels + channel]);
        }
        store_quad(layer.output, quad, values);
    }
}
