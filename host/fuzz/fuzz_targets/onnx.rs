//! Any bytes as an ONNX file: an error or a network that fits together.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = bytes::Bytes::copy_from_slice(data);
    let _ = lowbit_host::import::onnx::decode(Path::new("none/net.onnx"), bytes, None);
});
