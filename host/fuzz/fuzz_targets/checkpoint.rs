//! Any bytes as a checkpoint: an error, or tensors of which each can be had or not.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lowbit_host::import::Checkpoint;

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let path = ["net.pth", "net.safetensors"][usize::from(*kind) % 2];
    let Ok(checkpoint) = Checkpoint::decode(Path::new(path), bytes.to_vec()) else {
        return;
    };
    for name in checkpoint.names() {
        if let Some(shape) = checkpoint.shape(name) {
            let _ = checkpoint.tensor(name, shape);
        }
    }
});
