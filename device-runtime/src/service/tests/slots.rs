use super::host::{converse, flash_requests, generation};
use super::memory_flash::MemoryFlash;
use crate::protocol::{Refusal, Reply, Request};
use crate::testing::tiny_model;

fn flash(flash: &mut MemoryFlash, slots: u8, model: &[u8]) {
    converse(flash, slots, &flash_requests(model), |_, reply| {
        assert!(!matches!(reply, Reply::Refused(_)), "{reply:?}");
    });
}

/// The reply to the last of the requests that write `model`.
fn commit(memory: &mut MemoryFlash, model: &[u8]) -> String {
    let mut last = String::new();
    converse(memory, 2, &flash_requests(model), |_, reply| {
        last = format!("{reply:?}")
    });
    last
}

#[test]
fn the_newest_model_is_used() {
    let mut memory = MemoryFlash::new();
    assert_eq!(generation(&mut memory, 2), None);
    for expected in 0..5 {
        flash(&mut memory, 2, &tiny_model(expected, 0));
        assert_eq!(generation(&mut memory, 2), Some(expected as u32));
    }
}

#[test]
fn a_refused_model_leaves_the_old_one() {
    let mut memory = MemoryFlash::new();
    flash(&mut memory, 2, &tiny_model(0, 0));
    let mut changed = tiny_model(1, 0);
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let reply = commit(&mut memory, &changed);
    assert!(reply.contains("checksum"), "{reply}");
    assert_eq!(generation(&mut memory, 2), Some(0));
}

#[test]
fn a_model_that_is_too_large_is_refused_before_anything_is_erased() {
    let mut memory = MemoryFlash::new();
    flash(&mut memory, 1, &tiny_model(0, 0));
    let capacity = MemoryFlash::BYTES as u32 - 64;
    let begin = Request::FlashBegin {
        length: capacity + 1,
        checksum: 0,
    };
    converse(&mut memory, 1, &[begin], |_, reply| {
        let refusal = Refusal::ModelTooLarge {
            length: capacity + 1,
            capacity,
        };
        assert_eq!(reply, Reply::Refused(refusal));
    });
    assert_eq!(generation(&mut memory, 1), Some(0));
}

#[test]
fn an_incomplete_model_is_not_committed() {
    let mut memory = MemoryFlash::new();
    let model = tiny_model(0, 0);
    let mut requests = flash_requests(&model);
    requests.remove(requests.len() - 2);
    converse(&mut memory, 2, &requests, |index, reply| {
        if index + 1 == requests.len() {
            assert!(
                matches!(reply, Reply::Refused(Refusal::Incomplete { .. })),
                "{reply:?}"
            );
        }
    });
    assert_eq!(generation(&mut memory, 2), None);
}

#[test]
fn a_single_slot_is_reused() {
    let mut memory = MemoryFlash::new();
    for expected in 0..3 {
        flash(&mut memory, 1, &tiny_model(expected, 0));
        assert_eq!(generation(&mut memory, 1), Some(0), "model {expected}");
    }
}

#[test]
fn wherever_the_power_fails_the_old_or_the_new_model_is_there() {
    let mut before = MemoryFlash::new();
    flash(&mut before, 2, &tiny_model(0, 0));
    flash(&mut before, 2, &tiny_model(1, 0));
    let model = tiny_model(2, 0);
    let requests = flash_requests(&model);
    let mut seen = [0; 2];
    for power in 0.. {
        let mut memory = before.clone();
        memory.power = power;
        let mut committed = false;
        converse(&mut memory, 2, &requests, |_, reply| {
            committed = matches!(reply, Reply::Committed(_));
        });
        memory.power = usize::MAX;
        match generation(&mut memory, 2) {
            Some(1) if !committed => seen[0] += 1,
            Some(2) => seen[1] += 1,
            other => panic!("power for {power} bytes leaves generation {other:?}"),
        }
        if committed {
            break;
        }
    }
    assert!(seen[0] > model.len(), "{seen:?}");
    assert!(seen[1] > 0, "{seen:?}");
}
