//! What a model and a tensor tell about themselves.

use core::ops::ControlFlow;

use crate::support::{ConvCase, Element, Network, Shortcut};
use lowbit_runtime::engine::{self, Engine, Observer, TensorView};
use lowbit_runtime::format::{
    CHECKSUM, Error, MAX_OPERATIONS, Model, Operation, PROLOGUE_BYTES, Storage, file_length,
};

fn network() -> Network {
    let code = Element::Code {
        bits: 4,
        zero_point: -3,
    };
    let case = ConvCase {
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        groups: 1,
        outputs_per_group: 4,
        weight_bits: 3,
        output: code,
        tile: 2,
        spare: 0,
    };
    let mut network = Network::new(7, [5, 4, 3], Element::Value16);
    network.conv(0, &case, Shortcut::None);
    network.sum_pool(network.last(), [2, 2], [2, 2]);
    network.logits(6, 4);
    network
}

#[test]
fn file_length_needs_only_the_prologue() {
    let mut file = network().pack();
    assert_eq!(file_length(&file[..PROLOGUE_BYTES]), Ok(file.len()));
    let short = file_length(&file[..PROLOGUE_BYTES - 1]);
    let (needed, found) = (PROLOGUE_BYTES, PROLOGUE_BYTES - 1);
    assert_eq!(short, Err(Error::TooShort { needed, found }));
    file[8] = 99;
    assert_eq!(file_length(&file), Err(Error::Version { found: 99 }));
}

#[test]
fn golden_values_are_found_and_end() {
    let mut network = network();
    let file = network.pack();
    let model = Model::new_checked(&file).unwrap();
    assert_eq!(model.golden_pixels(0), Some(network.pixels()));
    assert_eq!(model.golden_pixels(1), None);
    let classes = model.header().classes;
    let logits: Vec<i32> = (0..classes)
        .filter_map(|c| model.golden_logits(0, c))
        .collect();
    assert_eq!(logits.len(), usize::from(classes));
    assert_eq!(model.golden_logits(0, classes), None);
    assert_eq!(model.golden_digest(0, model.header().operations), None);

    let mut words = vec![0u64; model.header().arena_bytes.div_ceil(8) as usize];
    let mut engine = Engine::new(model, bytemuck::cast_slice_mut(&mut words)).unwrap();
    engine.pixels_mut().copy_from_slice(network.pixels());
    let found = engine.run(&mut ()).unwrap();
    assert_eq!(found.as_slice(), logits);
    let largest = logits.iter().max();
    assert_eq!(found.get(found.top1()).as_ref(), largest);
    assert!(
        logits[..usize::from(found.top1())]
            .iter()
            .all(|logit| Some(logit) < largest)
    );
}

#[test]
fn arena_must_be_large_and_aligned() {
    let file = network().pack();
    let model = Model::new_checked(&file).unwrap();
    let needed = model.header().arena_bytes as usize;
    let mut words = vec![0u64; needed / 8 + 2];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    let available = needed - 1;
    let error = Engine::new(model, &mut bytes[..available]).unwrap_err();
    assert_eq!(error, engine::Error::ArenaTooSmall { needed, available });
    let error = Engine::new(model, &mut bytes[4..]).unwrap_err();
    assert_eq!(error, engine::Error::Misaligned);
}

/// Compares the digest and the canonical bytes with the values.
struct Canonical {
    seen: usize,
}

impl Observer for Canonical {
    fn observe(
        &mut self,
        index: usize,
        _: &Operation<'_>,
        output: &TensorView<'_>,
    ) -> ControlFlow<()> {
        let spec = *output.spec();
        let mut expected = Vec::new();
        for y in 0..spec.height {
            for x in 0..spec.width {
                for channel in 0..spec.channels {
                    let value = output.value(y, x, channel).unwrap();
                    match spec.storage {
                        Storage::Code8 { .. } => expected.push((value - spec.zero_point) as u8),
                        Storage::Value16 => expected.extend((value as i16).to_le_bytes()),
                        Storage::Value32 => expected.extend(value.to_le_bytes()),
                    }
                }
            }
        }
        assert_eq!(
            output.digest(),
            CHECKSUM.checksum(&expected),
            "operation {index}"
        );
        assert_eq!(output.canonical_bytes(), expected.len());
        assert_eq!(output.value(0, 0, spec.channels), None);
        let mut read = vec![0; expected.len() + 8];
        assert_eq!(output.read_canonical(0, &mut read), expected.len());
        assert_eq!(read[..expected.len()], expected);
        assert_eq!(
            output.read_canonical(4, &mut read[..8]),
            8.min(expected.len() - 4)
        );
        assert_eq!(read[..4], expected[4..8]);
        self.seen += 1;
        if self.seen == 4 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn views_are_canonical_and_an_observer_can_stop() {
    let mut network = network();
    let file = network.pack();
    let model = Model::new_checked(&file).unwrap();
    let mut words = vec![0u64; model.header().arena_bytes.div_ceil(8) as usize];
    let mut engine = Engine::new(model, bytemuck::cast_slice_mut(&mut words)).unwrap();
    engine.pixels_mut().copy_from_slice(network.pixels());
    let mut canonical = Canonical { seen: 0 };
    assert!(engine.run(&mut canonical).is_none());
    assert_eq!(canonical.seen, 4);
}

#[test]
fn programs_have_a_limit() {
    let mut network = Network::new(1, [1, 1, 1], Element::Value16);
    for _ in 2..=MAX_OPERATIONS {
        network.max_pool(network.last(), [[1, 1], [1, 1], [0, 0]]);
    }
    network.logits(1, 2);
    assert!(matches!(
        Model::new_checked(&network.pack()),
        Err(Error::Header(_))
    ));
}
