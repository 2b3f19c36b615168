use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::calibration::{Metric, Passes, Rejection};

/// All frames and faults in `bytes`, as sequence numbers and messages.
fn receive(bytes: &[u8], buffer: usize) -> Vec<Result<(u16, Vec<u8>), FrameError>> {
    let mut buffer = vec![0; buffer];
    let mut reader = FrameReader::new(&mut buffer);
    let mut received = Vec::new();
    for &byte in bytes {
        if let Some(result) = reader.push(byte) {
            received.push(result.map(|frame| (frame.sequence, frame.message.to_vec())));
        }
    }
    received
}

fn send(sequence: u16, message: &impl serde::Serialize) -> Vec<u8> {
    let (mut plain, mut frame) = ([0; FRAME_BYTES], [0; FRAME_BYTES]);
    let length = encode(sequence, message, &mut plain, &mut frame).expect("fits");
    frame[..length].to_vec()
}

fn encoded(data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; data.len() + 8];
    postcard::to_slice(data, &mut bytes).expect("fits").to_vec()
}

fn requests<'a>(data: &'a [u8], number: u32, flag: bool) -> [Request<'a>; 12] {
    let small = number as u16;
    [
        Request::Hello { protocol: small },
        Request::FlashBegin {
            length: number,
            checksum: !number,
        },
        Request::FlashWrite {
            offset: number,
            data,
        },
        Request::FlashCommit,
        Request::Input {
            offset: number,
            data,
        },
        Request::Run { digests: flag },
        Request::Logits { first: small },
        Request::LayerDigests { first: small },
        Request::Measure,
        Request::LayerTicks { first: small },
        Request::LayerRead {
            layer: small,
            offset: number,
        },
        Request::Info,
    ]
}

fn calibration_requests(number: u32, flag: bool) -> [CalibrationRequest; 11] {
    let small = number as u16;
    [
        CalibrationRequest::Begin {
            passes: if flag { Passes::Fast } else { Passes::Exact },
            prior: number,
        },
        CalibrationRequest::Collect,
        CalibrationRequest::Sums { first: small },
        CalibrationRequest::FinishPass,
        CalibrationRequest::Trial {
            tally: if flag { Tally::Seen } else { Tally::After },
            label: flag.then_some(small),
        },
        CalibrationRequest::GoldenTrial,
        CalibrationRequest::Judge {
            labels: flag,
            force: !flag,
            commit: flag,
        },
        CalibrationRequest::RecordPlace {
            place: number as u8,
            offset: number,
        },
        CalibrationRequest::Rollback,
        CalibrationRequest::Reset,
        CalibrationRequest::Sense {
            input: SensorInput::Same,
        },
    ]
}

fn replies<'a>(data: &'a [u8], text: &'a str, number: u32) -> [Reply<'a>; 10] {
    let small = number as u16;
    let model = ModelInfo {
        identity: [number as u8; 32],
        version: number,
        length: number,
        generation: number,
        arena_bytes: number,
        pixel_bytes: number,
        classes: small,
        operations: small,
        record: Some(number),
    };
    let hello = HelloReply {
        protocol: small,
        runtime: text,
        board: text,
        core: text,
        tick: TickUnit::Instructions,
        chunk_bytes: number,
        ahead_bytes: number,
        arena_bytes: number,
        stack_bytes: number,
        slots: number as u8,
        slot_bytes: number,
        model: Some(model),
    };
    [
        Reply::Hello(hello),
        Reply::Refused(Refusal::Model { reason: text }),
        Reply::Done,
        Reply::Committed(model),
        Reply::Ran {
            ticks: u64::from(number) << 32,
            logits: data,
        },
        Reply::Logits { logits: data },
        Reply::LayerDigests { digests: data },
        Reply::LayerTicks { ticks: data },
        Reply::Layer {
            length: number,
            data,
        },
        Reply::Info(InfoReply {
            stack_used: number,
            arena_used: number,
            slot: Some(number as u8),
        }),
    ]
}

fn calibration_replies(data: &[u8], number: u32) -> [CalibrationReply<'_>; 8] {
    let small = number as u16;
    [
        CalibrationReply::Progress(Progress {
            passes: small,
            pass: Some(Pass {
                index: small,
                operation: small,
                channels: small,
                most_images: number,
            }),
            memory_bytes: number,
            golden_images: small,
            place: number as u8,
        }),
        CalibrationReply::Collected {
            images: number,
            ticks: u64::from(number) << 32,
        },
        CalibrationReply::Sums { sums: data },
        CalibrationReply::Judged(Judgement {
            verdict: Err(Rejection::Images {
                found: number,
                least: number,
            }),
            images: number,
            layers: small,
            channels: number,
            clamped: number,
            generation: Some(number),
        }),
        CalibrationReply::Judged(Judgement {
            verdict: Ok(Metric {
                labelled: true,
                before: number,
                after: number,
            }),
            images: number,
            layers: small,
            channels: number,
            clamped: number,
            generation: None,
        }),
        CalibrationReply::RecordPlace {
            places: number as u8,
            data,
        },
        CalibrationReply::InUse {
            record: Some(number),
        },
        CalibrationReply::Sensed { left: Some(number) },
    ]
}

proptest! {
    #[test]
    fn messages_survive_the_way(
        sequence: u16,
        number: u32,
        flag: bool,
        text in "[ -~]{0,40}",
        data in vec(any::<u8>(), 0..=chunk_bytes(FRAME_BYTES)),
    ) {
        let about_calibration = calibration_requests(number, flag).map(Request::Calibration);
        for request in requests(&data, number, flag).into_iter().chain(about_calibration) {
            let received = receive(&send(sequence, &request), FRAME_BYTES);
            let [Ok((number, message))] = received.as_slice() else {
                panic!("{received:?}");
            };
            prop_assert_eq!(*number, sequence);
            prop_assert_eq!(postcard::from_bytes::<Request>(message), Ok(request));
        }
        let about_calibration = calibration_replies(&data, number).map(Reply::Calibration);
        for reply in replies(&data, &text, number).into_iter().chain(about_calibration) {
            let received = receive(&send(sequence, &reply), FRAME_BYTES);
            let [Ok((number, message))] = received.as_slice() else {
                panic!("{received:?}");
            };
            prop_assert_eq!(*number, sequence);
            prop_assert_eq!(postcard::from_bytes::<Reply>(message), Ok(reply));
        }
    }

    #[test]
    fn any_frame_length_survives(sequence: u16, data in vec(any::<u8>(), 0..FRAME_BYTES - 32)) {
        let received = receive(&send(sequence, &data.as_slice()), FRAME_BYTES);
        let message = encoded(&data);
        prop_assert_eq!(received, vec![Ok((sequence, message))]);
    }

    #[test]
    fn a_frame_after_garbage_is_found(garbage in vec(any::<u8>(), 0..3000), sequence: u16) {
        let mut line = garbage;
        line.push(0);
        line.extend(send(sequence, &Request::Info));
        let expected = receive(&send(sequence, &Request::Info), FRAME_BYTES);
        let received = receive(&line, FRAME_BYTES);
        prop_assert_eq!(received.last(), expected.last());
    }

    #[test]
    fn a_flipped_bit_is_noticed(data in vec(any::<u8>(), 0..200), bit: prop::sample::Index) {
        let mut line = send(7, &data.as_slice());
        let bit = bit.index(line.len() * 8);
        line[bit / 8] ^= 1 << (bit % 8);
        line.push(0);
        prop_assert!(receive(&line, FRAME_BYTES).iter().all(Result::is_err));
    }

    #[test]
    fn arbitrary_messages_are_decoded_or_refused(message in vec(any::<u8>(), 0..300)) {
        let _ = postcard::from_bytes::<Request>(&message);
        let _ = postcard::from_bytes::<Reply>(&message);
        let _ = versions(&message);
    }
}

#[test]
fn a_frame_that_is_too_long_is_dropped_whole() {
    let mut line = send(1, &[1u8; 300].as_slice());
    let long = line.len();
    line.extend(send(2, &Request::Info));
    let received = receive(&line, long - 2);
    assert_eq!(received.len(), 2);
    assert_eq!(received[0], Err(FrameError::TooLong { max: long - 2 }));
    assert_eq!(received[1].as_ref().map(|frame| frame.0), Ok(2));
}

#[test]
fn the_largest_data_fits_and_more_does_not() {
    let data = [0xa5; FRAME_BYTES];
    let write = |length| {
        let (mut plain, mut frame) = ([0; FRAME_BYTES], [0; FRAME_BYTES]);
        let request = Request::FlashWrite {
            offset: u32::MAX,
            data: &data[..length],
        };
        encode(u16::MAX, &request, &mut plain, &mut frame)
    };
    assert_eq!(chunk_bytes(FRAME_BYTES), 1024);
    assert!(write(1024).is_ok());
    assert_eq!(
        write(FRAME_BYTES - 8),
        Err(EncodeError {
            capacity: FRAME_BYTES
        })
    );
}

#[test]
fn versions_are_read_from_another_protocol() {
    let mut message = vec![0, 9, 5];
    message.extend(b"9.1.0 and whatever follows in that version");
    assert_eq!(versions(&message), Some((9, "9.1.0")));
    assert_eq!(versions(&[2]), None);
}

/// The tables of `docs/protocol.md` below a heading: name and fields by number.
fn page_rows(heading: &str) -> Vec<(String, Vec<String>)> {
    const PAGE: &str = include_str!("../../../docs/protocol.md");
    let (_, section) = PAGE
        .split_once(&format!("\n### {heading}\n"))
        .expect("is a heading");
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("| --- "));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let row = |(number, line): (usize, &str)| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert_eq!(cells[1], number.to_string(), "{line}");
        (cells[2].to_owned(), field_names(cells[3]))
    };
    rows.enumerate().map(row).collect()
}

/// `a, c` of `a u16, one of several (b u8), c text`.
fn field_names(fields: &str) -> Vec<String> {
    let mut depth = 0;
    let mut is_outside = |character: char| {
        depth += i32::from(character == '(') - i32::from(character == ')');
        depth == 0 && character != ')'
    };
    let outside: String = fields.chars().filter(|&c| is_outside(c)).collect();
    let fields = outside
        .split(", ")
        .filter(|field| !field.starts_with("one of"));
    let names = fields.filter_map(|field| field.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// All variants of an enum as `Debug` shows them with fields of zeros, decoded by `decode`.
fn variants(decode: impl Fn(&[u8]) -> Option<String>) -> Vec<(String, Vec<String>)> {
    let shown = (0..).map_while(|number| {
        let mut bytes = [0; 128];
        bytes[0] = number;
        decode(&bytes)
    });
    let parse = |shown: String| {
        let name = shown.split(|c: char| !c.is_alphanumeric()).next();
        let words = shown.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        let fields = words.filter_map(|word| word.strip_suffix(':'));
        let fields = fields.map(str::to_owned).collect();
        (name.unwrap_or_default().to_owned(), fields)
    };
    shown.map(parse).collect()
}

macro_rules! variants_of {
    ($message:ty) => {
        variants(|bytes| {
            let decoded = postcard::take_from_bytes::<$message>(bytes).ok()?;
            Some(format!("{:?}", decoded.0))
        })
    };
}

#[test]
fn the_page_describes_every_message() {
    let without_fields = |rows: Vec<(String, Vec<String>)>, name: &str| {
        let rows = rows.into_iter();
        let row = |(found, fields): (String, Vec<String>)| {
            let is_nested = found == name;
            (found, if is_nested { Vec::new() } else { fields })
        };
        rows.map(row).collect::<Vec<_>>()
    };
    let requests = without_fields(variants_of!(Request<'_>), "Calibration");
    assert_eq!(page_rows("Requests"), requests);
    let replies = without_fields(variants_of!(Reply<'_>), "Calibration");
    assert_eq!(page_rows("Replies"), replies);
    let requests = variants_of!(CalibrationRequest);
    assert_eq!(page_rows("Calibration requests"), requests);
    let judged = |rows| without_fields(rows, "Judged");
    let replies = variants_of!(CalibrationReply<'_>);
    assert_eq!(judged(page_rows("Calibration replies")), judged(replies));
    let refusals = without_fields(variants_of!(Refusal<'_>), "Sensor");
    let page = page_rows("Refusals");
    assert_eq!(without_fields(page, "Sensor"), refusals);
    assert_eq!(page_rows("Rejections"), variants_of!(Rejection));
}

#[test]
fn the_frame_on_the_page_is_what_is_sent() {
    const PAGE: &str = include_str!("../../../docs/protocol.md");
    let line = PAGE.lines().find(|line| line.starts_with("    00 "));
    let bytes = line.expect("is there").split_whitespace();
    let bytes: Vec<u8> = bytes
        .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal digits"))
        .collect();
    let hello = Request::Hello {
        protocol: PROTOCOL_VERSION,
    };
    assert_eq!(bytes, [&[0], &send(1, &hello)[..]].concat());
}
