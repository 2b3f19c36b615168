//! Any bytes as the place of a calibration record: an error, or parameters that every kernel
//! computes the same logits with. Checksums are not compared in a fuzzer's build.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use lowbit_runtime::calibration::{Corrections, Header, Plan, Record};
use lowbit_runtime::engine::Engine;
use lowbit_runtime::format::Model;
use lowbit_runtime::kernels::Kernels;
use lowbit_runtime::testing::{CALIBRATABLE_ARENA_BYTES, calibratable_model};

/// Of the model, over and over.
const IDENTITY: u8 = 7;
const PIXELS: [u8; 4] = [0, 90, 195, 255];

fuzz_target!(|data: &[u8]| {
    static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
    let file = MODEL.get_or_init(|| calibratable_model(IDENTITY));
    let model = Model::new_checked(file).expect("is a model");
    let plan = Plan::of(&model).expect("can be calibrated");
    if let Ok(header) = Header::parse(data) {
        assert_eq!(Header::parse(&header.encode()), Ok(header));
    }
    let Ok(record) = Record::new_checked(data, model.identity(), plan.checksum()) else {
        return;
    };
    assert_eq!(record.layers().count(), record.header().layers.into());
    let Ok(corrections) = Corrections::new_checked(&plan, record.payload()) else {
        return;
    };
    let [reference, tuned] = [Kernels::Reference, Kernels::Tuned].map(|kernels| {
        let mut words = [0u64; CALIBRATABLE_ARENA_BYTES / 8];
        let arena = bytemuck::cast_slice_mut(&mut words);
        let engine = Engine::with_kernels(model, arena, kernels).expect("has memory enough");
        let mut engine = engine.with_corrections(corrections);
        engine.pixels_mut().copy_from_slice(&PIXELS);
        engine.run(&mut ()).map(|logits| logits.as_slice().to_vec())
    });
    assert_eq!(reference, tuned);
});
