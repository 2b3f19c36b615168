use super::host::{ARENA_BYTES, converse, exchange, flash_requests, frame};
use super::memory_flash::MemoryFlash;
use crate::format::CHECKSUM;
use crate::protocol::{ModelInfo, PROTOCOL_VERSION, Refusal, Reply, Request};
use crate::testing::{self, CLASSES, PIXELS, tiny_model};

const IMAGE: [u8; PIXELS] = [1, 2, 3, 4];
const INPUT: Request<'static> = Request::Input {
    offset: 0,
    data: &IMAGE,
};

fn flash_with(model: &[u8]) -> MemoryFlash {
    let mut flash = MemoryFlash::new();
    let requests = flash_requests(model);
    converse(&mut flash, 2, &requests, |index, reply| {
        if index + 1 == requests.len() {
            assert!(matches!(reply, Reply::Committed(_)), "{reply:?}");
        } else {
            assert_eq!(reply, Reply::Done);
        }
    });
    flash
}

/// Sends the requests to a board that has a model and returns what the last reply says.
fn last_reply(requests: &[Request<'_>]) -> String {
    let mut flash = flash_with(&tiny_model(0, 0));
    let mut last = String::new();
    converse(&mut flash, 2, requests, |_, reply| {
        last = format!("{reply:?}")
    });
    last
}

fn refused(refusal: Refusal<'_>) -> String {
    format!("{:?}", Reply::Refused(refusal))
}

#[test]
fn hello_tells_what_the_board_is() {
    let model = tiny_model(0, 0);
    let mut flash = flash_with(&model);
    converse(
        &mut flash,
        2,
        &[Request::Hello { protocol: 1 }],
        |_, reply| {
            let Reply::Hello(hello) = reply else {
                panic!("{reply:?}");
            };
            assert_eq!(hello.protocol, PROTOCOL_VERSION);
            assert_eq!((hello.board, hello.core), ("test", "none"));
            assert_eq!((hello.slots, hello.arena_bytes as usize), (2, ARENA_BYTES));
            assert_eq!(hello.slot_bytes as usize, MemoryFlash::BYTES / 2 - 64);
            let expected = ModelInfo {
                identity: [0; 32],
                version: 0,
                length: model.len() as u32,
                generation: 0,
                arena_bytes: testing::ARENA_BYTES as u32,
                pixel_bytes: PIXELS as u32,
                classes: CLASSES as u16,
                operations: 2,
                record: None,
            };
            assert_eq!(hello.model, Some(expected));
        },
    );
}

#[test]
fn an_inference_gives_logits_checksums_and_layers() {
    let mut flash = flash_with(&tiny_model(5, 0));
    let requests = [
        INPUT,
        Request::Run { digests: true },
        Request::Logits { first: 1 },
        Request::LayerDigests { first: 0 },
        INPUT,
        Request::LayerRead {
            layer: 0,
            offset: 4,
        },
    ];
    let logits = [15i32.to_le_bytes(), 5i32.to_le_bytes()];
    let values = [1, 0, 2, 0, 3, 0, 4, 0];
    let digests = [
        CHECKSUM.checksum(&values),
        CHECKSUM.checksum(logits.as_flattened()),
    ]
    .map(u32::to_le_bytes);
    converse(&mut flash, 2, &requests, |index, reply| {
        let expected = match index {
            // The clock advances by 10 per reading; two checksums take 10 each, and the time
            // between all readings but theirs counts.
            1 => Reply::Ran {
                ticks: 30,
                logits: logits.as_flattened(),
            },
            2 => Reply::Logits { logits: &logits[1] },
            3 => Reply::LayerDigests {
                digests: digests.as_flattened(),
            },
            5 => Reply::Layer {
                length: 8,
                data: &values[4..],
            },
            _ => Reply::Done,
        };
        assert_eq!(reply, expected, "reply {index}");
    });
}

#[test]
fn a_measurement_times_every_operation() {
    let mut flash = flash_with(&tiny_model(5, 0));
    let requests = [
        INPUT,
        Request::Measure,
        Request::LayerTicks { first: 0 },
        Request::LayerTicks { first: 1 },
        Request::LayerDigests { first: 0 },
    ];
    converse(&mut flash, 2, &requests, |index, reply| match index {
        // The clock advances by 10 per reading: one before the first and one after each operation,
        // and one at the end.
        1 => assert!(matches!(reply, Reply::Ran { ticks: 30, .. }), "{reply:?}"),
        2 | 3 => {
            let ticks = [10u32.to_le_bytes(); 2];
            let ticks = ticks[index - 2..].as_flattened();
            assert_eq!(reply, Reply::LayerTicks { ticks });
        }
        4 => assert_eq!(reply, Reply::Refused(Refusal::NoResult)),
        _ => assert_eq!(reply, Reply::Done),
    });
}

#[test]
fn pixels_are_used_up() {
    let run = Request::Run { digests: false };
    let incomplete = refused(Refusal::Incomplete {
        expected: 4,
        received: 0,
    });
    assert_eq!(last_reply(&[INPUT, run, run]), incomplete);
    assert_eq!(last_reply(&[run]), incomplete);
}

#[test]
fn requests_out_of_place_are_refused() {
    let run = Request::Run { digests: false };
    let cases: [(&[Request<'_>], Refusal<'_>); 8] = [
        (&[Request::Logits { first: 0 }], Refusal::NoResult),
        (
            &[INPUT, run, Request::LayerDigests { first: 0 }],
            Refusal::NoResult,
        ),
        (
            &[INPUT, run, Request::Logits { first: 2 }],
            Refusal::Index { index: 2, count: 2 },
        ),
        (
            &[
                INPUT,
                Request::LayerRead {
                    layer: 2,
                    offset: 0,
                },
            ],
            Refusal::Index { index: 2, count: 2 },
        ),
        (
            &[Request::FlashWrite {
                offset: 0,
                data: &[1],
            }],
            Refusal::NotWriting,
        ),
        (&[Request::FlashCommit], Refusal::NotWriting),
        (
            &[Request::Input {
                offset: 3,
                data: &[1],
            }],
            Refusal::Offset {
                expected: 0,
                found: 3,
            },
        ),
        (
            &[Request::Input {
                offset: 0,
                data: &[1; 5],
            }],
            Refusal::TooLong {
                expected: 4,
                found: 5,
            },
        ),
    ];
    for (requests, refusal) in cases {
        assert_eq!(last_reply(requests), refused(refusal), "{requests:?}");
    }
}

#[test]
fn a_board_without_a_model_says_so() {
    let mut flash = MemoryFlash::new();
    converse(
        &mut flash,
        2,
        &[INPUT, Request::Run { digests: false }],
        |_, reply| {
            assert_eq!(reply, Reply::Refused(Refusal::NoModel));
        },
    );
}

#[test]
fn a_request_of_a_later_version_is_refused() {
    let mut flash = MemoryFlash::new();
    let (mut plain, mut sent) = ([0; 64], [0; 64]);
    let length = crate::protocol::encode(3, &99u8, &mut plain, &mut sent).expect("fits");
    let reply = exchange(&mut flash, 2, &sent[..length]);
    let expected = Reply::Refused(Refusal::Undecodable);
    let length = crate::protocol::encode(3, &expected, &mut plain, &mut sent).expect("fits");
    assert_eq!(reply, [&[0], &sent[..length]].concat());
}

#[test]
fn a_repeated_request_is_answered_but_not_executed_again() {
    let mut flash = flash_with(&tiny_model(0, 0));
    let once = [frame(1, &INPUT), frame(2, &Request::Run { digests: false })].concat();
    let single = exchange(&mut flash, 2, &once);
    // Executed twice, the inference would lack its pixels.
    let twice = [once, frame(2, &Request::Run { digests: false })].concat();
    let double = exchange(&mut flash, 2, &twice);
    assert_eq!(double[..single.len()], single);
    assert!(single.ends_with(&double[single.len()..]));
}

#[test]
fn a_request_that_comes_again_later_is_dropped() {
    let mut flash = flash_with(&tiny_model(0, 0));
    for [first, second] in [[1, 2], [u16::MAX, 0]] {
        let line = [frame(first, &INPUT), frame(second, &Request::Info)].concat();
        let once = exchange(&mut flash, 2, &line);
        let again = [line, frame(first, &INPUT)].concat();
        assert_eq!(exchange(&mut flash, 2, &again), once);
    }
}

/// What a host that sends ahead relies on: whichever request of two images is lost, no reply is that
/// of an inference on mixed pixels.
#[test]
fn lost_parts_never_give_a_result_of_mixed_pixels() {
    let mut flash = flash_with(&tiny_model(0, 0));
    let image = |data: &'static [u8; PIXELS]| {
        let (first, second) = data.split_at(2);
        [
            Request::Input {
                offset: 0,
                data: first,
            },
            Request::Input {
                offset: 2,
                data: second,
            },
            Request::Run { digests: false },
        ]
    };
    let requests = [image(&[1, 2, 3, 4]), image(&[50, 60, 70, 80])].concat();
    let mut results = Vec::new();
    converse(&mut flash, 2, &requests, |index, reply| {
        if let (2 | 5, Reply::Ran { logits, .. }) = (index, reply) {
            results.push(logits.to_vec());
        }
    });
    assert_eq!(results.len(), 2);
    for lost in 0..requests.len() {
        let mut sent = requests.clone();
        sent.remove(lost);
        converse(&mut flash, 2, &sent, |_, reply| match reply {
            Reply::Ran { logits, .. } => assert!(results.iter().any(|known| known == logits)),
            Reply::Done | Reply::Refused(Refusal::Offset { .. } | Refusal::Incomplete { .. }) => {}
            reply => panic!("{reply:?} without request {lost}"),
        });
    }
}

#[test]
fn garbage_on_the_line_is_skipped() {
    let mut flash = flash_with(&tiny_model(0, 0));
    let clean = exchange(&mut flash, 2, &frame(1, &Request::Info));
    let garbage = [0x55; 5000];
    let line = [&garbage[..], &[0], &frame(1, &Request::Info), &garbage[..]].concat();
    assert_eq!(exchange(&mut flash, 2, &line), clean);
}
