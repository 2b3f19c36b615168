//! Records that are written, cut, flipped and made up.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use proptest::prelude::*;

const IDENTITY: [u8; 32] = [7; 32];
const PLAN: u32 = 0x1234_5678;

fn payload() -> Vec<u8> {
    let mut payload = Vec::new();
    for (operation, channels) in [(1u16, 3u16), (9, 2)] {
        payload.extend(Layer::head(operation, channels));
        for channel in 0..i32::from(channels) {
            payload.extend(Layer::channel(-channel - 1, i64::from(channel) << 40));
        }
        payload.resize(payload.len().next_multiple_of(WRITE_UNIT), ERASED);
    }
    payload
}

fn header(payload: &[u8]) -> Header {
    Header {
        generation: 5,
        model: [7; 16],
        plan: PLAN,
        images: 128,
        prior: 64,
        layers: 2,
        clamped_permille: 12,
        before: 600,
        after: 700,
        labelled: true,
        payload_length: payload.len() as u32,
        payload_checksum: CHECKSUM.checksum(payload),
    }
}

fn slot() -> Vec<u8> {
    let payload = payload();
    let mut slot = vec![ERASED; 400];
    slot[..HEADER_BYTES].copy_from_slice(&header(&payload).encode());
    slot[COMMIT_OFFSET..][..4].copy_from_slice(&[0; 4]);
    slot[PAYLOAD_OFFSET..][..payload.len()].copy_from_slice(&payload);
    slot
}

fn open(slot: &[u8]) -> Result<Header, RecordError> {
    Record::new_checked(slot, &IDENTITY, PLAN).map(|record| *record.header())
}

#[test]
fn what_was_written_is_read() {
    let slot = slot();
    let record = Record::new_checked(&slot, &IDENTITY, PLAN).unwrap();
    assert_eq!(*record.header(), header(&payload()));
    let layers: Vec<_> = record.layers().collect();
    assert_eq!([layers[0].operation, layers[1].operation], [1, 9]);
    assert_eq!(layers[0].get(2), Some((-3, 2 << 40)));
    assert_eq!(
        (layers[1].get(1), layers[1].get(2)),
        (Some((-2, 1 << 40)), None)
    );
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    assert_eq!(open(&[]), Err(RecordError::Absent));
    assert_eq!(open(&[ERASED; 400]), Err(RecordError::Absent));
    let mut uncommitted = slot();
    uncommitted[COMMIT_OFFSET..][..4].fill(ERASED);
    assert_eq!(open(&uncommitted), Err(RecordError::Uncommitted));
    let mut revoked = slot();
    revoked[REVOKE_OFFSET] = 0;
    assert_eq!(open(&revoked), Err(RecordError::Revoked));
    let slot = slot();
    let other = Record::new_checked(&slot, &[8; 32], PLAN).map(|_| ());
    assert_eq!(other, Err(RecordError::Model));
    let other = Record::new_checked(&slot, &IDENTITY, 1).map(|_| ());
    assert_eq!(
        other,
        Err(RecordError::Plan {
            found: PLAN,
            expected: 1
        })
    );
    let cut = open(&slot[..PAYLOAD_OFFSET + 10]);
    assert!(matches!(
        cut,
        Err(RecordError::Length { available: 10, .. })
    ));
}

/// Layers that reach behind the payload or leave a part of it.
#[test]
fn layers_must_fill_the_payload() {
    for (layers, wrong) in [(1, 1), (3, 2)] {
        let (payload, mut slot) = (payload(), slot());
        let header = Header {
            layers,
            ..header(&payload)
        };
        slot[..HEADER_BYTES].copy_from_slice(&header.encode());
        assert_eq!(open(&slot), Err(RecordError::Layer { layer: wrong }));
    }
}

#[test]
fn every_flipped_bit_of_the_content_is_found() {
    let whole = slot();
    let end = PAYLOAD_OFFSET + payload().len();
    for place in (0..HEADER_BYTES).chain(PAYLOAD_OFFSET..end) {
        for bit in 0..8 {
            let mut slot = whole.clone();
            slot[place] ^= 1 << bit;
            assert!(open(&slot).is_err(), "byte {place}, bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::new_checked(&bytes, &IDENTITY, PLAN);
        let payload = Payload::new(&bytes);
        prop_assert!(payload.count() <= bytes.len() / 4);
    }
}
