//! Any bytes as a data set.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lowbit_host::data::decode;

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let path = Path::new("data");
    let _ = match kind % 4 {
        0 => decode::npz(path, bytes),
        1 => decode::npy(path, bytes, bytes),
        2 => decode::cifar10(path, bytes),
        _ => decode::cifar100(path, bytes),
    };
});
