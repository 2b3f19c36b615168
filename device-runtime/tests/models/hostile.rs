//! Files that are broken, by accident or on purpose: always an error or a sound model, never a
//! panic.

use crate::support::{ConvCase, Element, Network, Shortcut, seal};
use lowbit_runtime::engine::Engine;
use lowbit_runtime::format::{
    self, Error, Fault, Model, PROLOGUE_BYTES, SIGNATURE_BYTES, VERSION, content_checksum,
};
use proptest::prelude::*;

/// Larger arenas are refused, as by a board.
const LARGEST_ARENA: u32 = 1 << 20;

/// One operation of every kind.
fn network(seed: u64) -> Network {
    let code = Element::Code {
        bits: 3,
        zero_point: -1,
    };
    let case = ConvCase {
        kernel: [3, 3],
        stride: [2, 2],
        padding: [1, 1],
        groups: 1,
        outputs_per_group: 4,
        weight_bits: 3,
        output: code,
        tile: 3,
        spare: 4,
    };
    let same = ConvCase {
        stride: [1, 1],
        ..case
    };
    let mut network = Network::new(seed, [6, 7, 2], Element::Value16);
    let first = network.conv(0, &case, Shortcut::Projection(0, 2, 5));
    let second = network.conv(first, &same, Shortcut::Identity(first, 1, 0));
    network.add(first, second, code, false);
    network.max_pool(network.last(), [[2, 2], [1, 1], [1, 1]]);
    network.average_pool(network.last(), [2, 2], [1, 1], code);
    network.sum_pool(network.last(), [2, 2], [1, 1]);
    network.logits(3, 4);
    network
}

/// Opens a file and, if it is a model, runs it.
fn open_and_run(file: &[u8]) -> Result<(), Error> {
    let model = Model::new_checked(file)?;
    if model.header().arena_bytes > LARGEST_ARENA {
        return Ok(());
    }
    let mut words = vec![0x5555_5555_5555_5555u64; model.header().arena_bytes.div_ceil(8) as usize];
    let mut engine = Engine::new(model, bytemuck::cast_slice_mut(&mut words)).unwrap();
    engine.pixels_mut().fill(0xc3);
    assert!(engine.run(&mut ()).is_some());
    Ok(())
}

/// Bytes of prologue, header and program.
fn described(file: &[u8]) -> usize {
    let length = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    PROLOGUE_BYTES + length(16) + length(20)
}

#[test]
fn the_intact_file_runs() {
    assert_eq!(open_and_run(&network(1).pack()), Ok(()));
}

/// With a version and something that stands where a signature does.
fn signed(mut file: Vec<u8>) -> Vec<u8> {
    let length = file.len() + SIGNATURE_BYTES;
    file[10] = 1;
    file[12..16].copy_from_slice(&(length as u32).to_le_bytes());
    file[28..32].copy_from_slice(&7u32.to_le_bytes());
    let checksum = content_checksum(&file);
    file[24..28].copy_from_slice(&checksum.to_le_bytes());
    file.resize(length, 0x5a);
    file
}

#[test]
fn a_signature_is_found_and_is_no_part_of_the_model() {
    let plain = network(2).pack();
    let file = signed(plain.clone());
    assert_eq!(open_and_run(&file), Ok(()));
    let [found, expected] = [&file, &plain].map(|file| Model::new_checked(file).unwrap());
    assert_eq!((found.version(), expected.version()), (7, 0));
    assert_eq!(found.blobs(), expected.blobs());
    let parts = format::signed(&file).unwrap().unwrap();
    assert_eq!((parts.content, parts.version), (&file[..plain.len()], 7));
    assert_eq!(parts.signature, &[0x5a; SIGNATURE_BYTES]);
    assert_eq!(format::signed(&plain), Ok(None));
    for length in 0..file.len() {
        assert!(open_and_run(&file[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn every_truncation_is_refused() {
    let file = network(2).pack();
    for length in 0..file.len() {
        assert!(open_and_run(&file[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let file = network(3).pack();
    for bit in 0..file.len() * 8 {
        let mut broken = file.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(open_and_run(&broken).is_err(), "bit {bit}");
    }
}

#[test]
fn strangers_are_named() {
    let file = network(4).pack();
    assert_eq!(
        open_and_run(b"PK\x03\x04 not a model at all"),
        Err(Error::Magic)
    );
    let mut newer = file.clone();
    newer[8..10].copy_from_slice(&(VERSION + 1).to_le_bytes());
    seal(&mut newer);
    assert_eq!(
        open_and_run(&newer),
        Err(Error::Version { found: VERSION + 1 })
    );
    let mut longer = file.clone();
    longer.push(0);
    let length = Error::Length {
        stated: file.len() as u32,
        found: file.len() + 1,
    };
    assert_eq!(open_and_run(&longer), Err(length));
}

/// The position of every field is not known here, but every byte of header and program belongs to
/// one, so all values of each byte are tried.
#[test]
fn every_value_of_every_described_byte_is_survived() {
    let file = network(5).pack();
    let mut accepted = 0;
    let end = described(&file);
    for place in (10..28).chain(PROLOGUE_BYTES..end) {
        for value in 0..=u8::MAX {
            let mut hostile = file.clone();
            hostile[place] = value;
            seal(&mut hostile);
            accepted += usize::from(open_and_run(&hostile).is_ok());
        }
    }
    // Names, bounds that stay within the element type and the like may change.
    assert!(accepted > end - PROLOGUE_BYTES, "{accepted} of {end}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn several_changed_bytes_with_a_right_checksum_are_survived(
        seed in 0u64..8,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut file = network(seed).pack();
        let end = described(&file);
        for (index, value) in changes {
            let place = 10 + index.index(end - 10);
            file[place] = value;
        }
        seal(&mut file);
        let _ = open_and_run(&file);
    }

    #[test]
    fn changed_blobs_with_a_right_checksum_are_survived(
        seed in 0u64..8,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
    ) {
        let mut file = network(seed).pack();
        let start = described(&file);
        for (index, value) in changes {
            let place = start + index.index(file.len() - start);
            file[place] = value;
        }
        seal(&mut file);
        let _ = open_and_run(&file);
    }

    #[test]
    fn noise_is_survived(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open_and_run(&noise).is_err());
    }

    #[test]
    fn noise_behind_a_sound_prologue_is_survived(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        header in 0u32..40,
    ) {
        let mut file = network(6).pack();
        file.truncate(PROLOGUE_BYTES);
        file.extend_from_slice(&noise);
        let (length, program) = (file.len() as u32, (noise.len() as u32).saturating_sub(header));
        file[12..16].copy_from_slice(&length.to_le_bytes());
        file[16..20].copy_from_slice(&header.to_le_bytes());
        file[20..24].copy_from_slice(&program.to_le_bytes());
        seal(&mut file);
        prop_assert!(open_and_run(&file).is_err());
    }
}

/// A rule of the check and a change of the program that breaks it.
#[test]
fn broken_rules_are_named() {
    use lowbit_runtime::format::{Kind, Storage};
    type Change = fn(&mut Network);
    let cases: [(&str, Change); 12] = [
        ("operation 1: 2 channels", |n| {
            n.edit_conv(1, |c| c.groups = 0)
        }),
        ("operation 1: stride", |n| {
            n.edit_conv(1, |c| c.stride_x = 0)
        }),
        ("operation 1: output size", |n| {
            n.edit_conv(1, |c| c.stride_y = 1)
        }),
        ("operation 1: weights.bits", |n| {
            n.edit_conv(1, |c| c.weights.bits = 9)
        }),
        ("operation 1: weights.codes", |n| {
            n.edit_conv(1, |c| c.weights.bits = 4)
        }),
        ("operation 2: input", |n| {
            n.edit_conv(2, |c| c.input.zero_point += 1)
        }),
        ("operation 2: input", |n| {
            n.edit_conv(2, |c| c.input.offset += 4)
        }),
        ("operation 2: low", |n| {
            n.edit(2, |o| {
                if let Kind::Conv2d { requantize, .. } = &mut o.kind {
                    requantize.low -= 1;
                }
            });
        }),
        ("operation 2: scratch", |n| {
            n.edit(2, |o| {
                if let Kind::Conv2d { scratch, .. } = &mut o.kind {
                    scratch.length = 16;
                }
            });
        }),
        ("operation 2: scratch overlaps output", |n| {
            n.edit(2, |o| {
                if let Kind::Conv2d { scratch, .. } = &mut o.kind {
                    o.output.offset = scratch.offset;
                }
            });
        }),
        ("operation 4: output", |n| {
            n.edit(4, |o| o.output.storage = Storage::Value32)
        }),
        ("operation 7: output channels", |n| {
            n.edit(7, |o| o.output.channels -= 1)
        }),
    ];
    for (expected, change) in cases {
        let mut network = network(7);
        change(&mut network);
        let file = network.pack();
        let error = Model::new_checked(&file).map(|_| ()).unwrap_err();
        assert!(
            error.to_string().starts_with(expected),
            "{expected}: {error}"
        );
    }
}

#[test]
fn a_tensor_that_was_overwritten_cannot_be_read() {
    let mut network = network(8);
    // The average pool overwrites what the sum pool wants to read: the maximum pool's output.
    let max = network.output(4);
    network.edit(5, |operation| operation.output.offset = max.offset);
    let error = Model::new_checked(&network.pack()).map(|_| ()).unwrap_err();
    let fault = Fault::Overlap {
        field: "input",
        other: "output",
    };
    assert_eq!(error, Error::Operation { index: 5, fault });

    let mut network = self::network(8);
    let first = network.output(1);
    network.edit(2, |operation| operation.output.offset = first.offset);
    let error = Model::new_checked(&network.pack()).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, Error::Operation { index: 2, .. }),
        "{error}"
    );
}

#[test]
fn sums_that_may_overflow_are_refused() {
    let wide = Element::Code {
        bits: 8,
        zero_point: 32000,
    };
    let case = ConvCase {
        kernel: [5, 5],
        stride: [1, 1],
        padding: [0, 0],
        groups: 1,
        outputs_per_group: 1,
        weight_bits: 8,
        output: wide,
        tile: 1,
        spare: 0,
    };
    let mut network = Network::new(9, [5, 5, 1], Element::Value16);
    let first = network.conv(
        0,
        &ConvCase {
            kernel: [1, 1],
            outputs_per_group: 40,
            ..case
        },
        Shortcut::None,
    );
    network.conv(first, &case, Shortcut::None);
    network.logits(2, 2);
    let error = Model::new_checked(&network.pack()).map(|_| ()).unwrap_err();
    let Error::Operation {
        index: 2,
        fault: Fault::Overflow {
            field,
            bound,
            limit,
        },
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((field, limit), ("accumulator", 1 << 31));
    assert!(bound >= limit);
}
