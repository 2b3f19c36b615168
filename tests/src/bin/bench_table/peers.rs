//! What CMSIS-NN (commit 99f736a6) needs with 8-bit weights and activations: instructions under the
//! same emulation, the better of gcc 12 -O3 and clang 19 -O3 for every figure.

/// Thousands of instructions on M4, M7, M33, M3 and M0+.
const FIGURES: [(&str, [f64; 5]); 17] = [
    (
        "conv 3x3 3→16 @32x32",
        [2031.0, 2061.0, 2123.0, 2409.0, 5178.0],
    ),
    (
        "conv 3x3 16→16 @32x32",
        [5384.0, 5320.0, 5494.0, 7366.0, 17830.0],
    ),
    (
        "conv 3x3 16→32 s2 @32x32",
        [2465.0, 2420.0, 2521.0, 3382.0, 8410.0],
    ),
    (
        "conv 3x3 32→32 @16x16",
        [4488.0, 4368.0, 4548.0, 6274.0, 15810.0],
    ),
    (
        "conv 3x3 64→64 @8x8",
        [4127.0, 3990.0, 4156.0, 5824.0, 14940.0],
    ),
    (
        "conv 1x1 16→32 s2 @32x32",
        [535.0, 557.0, 559.0, 669.0, 1570.0],
    ),
    ("linear 64→10", [1.775, 1.845, 1.843, 2.850, 5.250]),
    ("add 32x32x16", [914.0, 1317.0, 1354.0, 1229.0, 3710.0]),
    ("average pool 8x8x64", [23.0, 24.1, 23.0, 49.6, 80.5]),
    (
        "pointwise 64→64 @25x5",
        [1039.0, 1051.0, 1065.0, 1592.0, 3715.0],
    ),
    (
        "depthwise 3x3 64 @25x5",
        [536.0, 594.0, 594.0, 674.0, 1595.0],
    ),
    (
        "depthwise 3x3 8 @48x48",
        [1499.0, 1632.0, 1628.0, 1796.0, 4001.0],
    ),
    (
        "pointwise 8→16 @48x48",
        [1807.0, 1973.0, 1946.0, 2087.0, 5087.0],
    ),
    (
        "pointwise 128→128 @6x6",
        [1063.0, 1060.0, 1077.0, 1697.0, 3899.0],
    ),
    ("linear 640→128", [159.0, 160.0, 160.0, 281.0, 507.0]),
    (
        "ResNet-20",
        [87_800.0, 88_200.0, 91_400.0, 121_200.0, 304_400.0],
    ),
    (
        "ResNet-8",
        [28_600.0, 28_900.0, 29_900.0, 39_100.0, 97_100.0],
    ),
];
const CORES: [&str; 5] = ["M4", "M7", "M33", "M3", "M0"];
/// Known for whole networks only.
const RV32: [(&str, f64); 2] = [("ResNet-20", 211_700.0), ("ResNet-8", 66_500.0)];

/// Instructions of a workload on a core, where they are known.
pub(crate) fn instructions(workload: &str, core: &str) -> Option<f64> {
    if core == "RV32" {
        let found = RV32.iter().find(|(name, _)| *name == workload)?;
        return Some(1000.0 * found.1);
    }
    let (_, row) = FIGURES.iter().find(|(name, _)| *name == workload)?;
    let column = CORES.iter().position(|name| *name == core)?;
    Some(1000.0 * row[column])
}
