// Sum of two tensors: clamp((m_left * left + m_right * right + bias) >> shift, low, high). Needs
// operator.wgsl. The parameters are an affine map and the right operand's multiplier.

struct Add {
    left: Tensor,
    right: Tensor,
    output: Tensor,
    low: i32,
    high: i32,
}

@group(0) @binding(0) var<uniform> layer: Add;

@compute @workgroup_size(workgroup_size)
fn add_tensors(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let quads = batch.images * layer.output.image;
    let stride = workgroups.x * workgroup_size;
    for (var quad = invocation.x; quad < quads; quad += stride) {
        let left = input_quad(layer.left, quad);
        let right = addend_quad(layer.right, quad);
        store_quad(layer.output, quad, vec4(
            sum(left.x, right.x),
            sum(left.y, right.y),
            sum(left.z, right.z),
            sum(left.w, right.w),
        ));
    }
}

fn sum(left: i32, right: i32) -> i32 {
    let scaled = multiply(bitcast<i32>(parameters[4]), right);
    return requantized(affine_at(0u), left, scaled, layer.low, layer.high);
}
