// What the GPU reaches at most: products that are added up in registers, and nothing else. Every
// product depends on the sum before it, so that none can be left out; CHAINS sums are independent.

override workgroup_size: u32;

const REPETITIONS: u32 = 16u;

@group(0) @binding(0) var<uniform> steps: u32;
@group(0) @binding(1) var<storage, read_write> results: array<u32>;

// CHAINS is 8: two times four sums.
struct Sums {
    first: vec4<u32>,
    second: vec4<u32>,
}

fn start(invocation: u32) -> Sums {
    let sums = vec4(invocation) * vec4(0x01010101u, 0x03050709u, 0x0b0d1113u, 0x17191d1fu);
    return Sums(sums, sums ^ vec4(0x5a5a5a5au));
}

fn store(invocation: u32, sums: Sums) {
    let all = sums.first ^ sums.second;
    results[invocation] = all.x ^ all.y ^ all.z ^ all.w;
}

fn packed_step(sums: vec4<u32>, codes: u32) -> vec4<u32> {
    return sums + vec4(
        dot4U8Packed(sums.x, codes),
        dot4U8Packed(sums.y, codes),
        dot4U8Packed(sums.z, codes),
        dot4U8Packed(sums.w, codes),
    );
}

@compute @workgroup_size(workgroup_size)
fn packed_products(@builtin(global_invocation_id) invocation: vec3<u32>) {
    var sums = start(invocation.x);
    let codes = 0x9d3b71c5u ^ invocation.x;
    for (var step = 0u; step < steps; step++) {
        for (var repetition = 0u; repetition < REPETITIONS; repetition++) {
            sums.first = packed_step(sums.first, codes);
            sums.second = packed_step(sums.second, codes);
        }
    }
    store(invocation.x, sums);
}

@compute @workgroup_size(workgroup_size)
fn plain_products(@builtin(global_invocation_id) invocation: vec3<u32>) {
    var sums = start(invocation.x);
    let codes = vec4(0x9d3b71c5u ^ invocation.x);
    for (var step = 0u; step < steps; step++) {
        for (var repetition = 0u; repetition < REPETITIONS; repetition++) {
            sums.first = sums.first * codes + sums.first;
            sums.second = sums.second * codes + sums.second;
        }
    }
    store(invocation.x, sums);
}
