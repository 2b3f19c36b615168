//! Calibration over the protocol, and power failures while records change.

use super::host::{ARENA_BYTES, SENSED, converse, flash_requests, model, sensed};
use super::memory_flash::MemoryFlash;
use crate::calibration::{Moments, Passes, Rejection};
use crate::protocol::{
    CalibrationReply, CalibrationRequest, Refusal, Reply, Request, SensorFault, SensorInput, Tally,
};
use crate::testing::{CALIBRATABLE_ARENA_BYTES, CLASSES, calibratable_model, tiny_model};

/// Brighter than what the model was trained on.
const IMAGES: [[u8; 4]; 2] = [[90, 110, 120, 140], [160, 190, 200, 230]];
const BEGIN: Request<'static> = ask(CalibrationRequest::Begin {
    passes: Passes::Exact,
    prior: 16,
});
const COMMIT: Request<'static> = ask(CalibrationRequest::Judge {
    labels: true,
    force: false,
    commit: true,
});

const fn ask(request: CalibrationRequest) -> Request<'static> {
    Request::Calibration(request)
}

fn input(index: usize) -> Request<'static> {
    Request::Input {
        offset: 0,
        data: &IMAGES[index % 2],
    }
}

fn trial(tally: Tally) -> Request<'static> {
    ask(CalibrationRequest::Trial { tally, label: None })
}

/// A whole calibration but for its end.
fn calibration(images: usize) -> Vec<Request<'static>> {
    let with = |request: Request<'static>, count| {
        (0..count).flat_map(move |index| [input(index), request])
    };
    [BEGIN]
        .into_iter()
        .chain(with(ask(CalibrationRequest::Collect), images))
        .chain([ask(CalibrationRequest::FinishPass)])
        .chain(with(trial(Tally::Seen), images))
        .chain(with(trial(Tally::Before), 4))
        .chain(with(trial(Tally::After), 4))
        .collect()
}

fn committed() -> Vec<Request<'static>> {
    [calibration(32), vec![COMMIT]].concat()
}

/// A board that has been calibrated `times` times.
fn calibrated(times: u32) -> MemoryFlash {
    let mut flash = MemoryFlash::new();
    send(&mut flash, &flash_requests(&calibratable_model(7)));
    for generation in 1..=times {
        let last = send(&mut flash, &committed());
        assert!(
            last.contains(&format!("generation: Some({generation})")),
            "{last}"
        );
    }
    flash
}

/// What the last reply says; no other may be a refusal.
fn send(flash: &mut MemoryFlash, requests: &[Request<'_>]) -> String {
    let mut last = String::new();
    converse(flash, 2, requests, |index, reply| {
        last = format!("{reply:?}");
        let is_last = index + 1 == requests.len();
        assert!(
            is_last || !matches!(reply, Reply::Refused(_)),
            "{index}: {reply:?}"
        );
    });
    last
}

fn record(flash: &mut MemoryFlash) -> Option<u32> {
    model(flash, 2).expect("has a model").record
}

/// The logits of an image after a restart.
fn logits(flash: &mut MemoryFlash) -> Vec<u8> {
    let mut found = Vec::new();
    converse(
        flash,
        2,
        &[input(0), Request::Run { digests: false }],
        |_, reply| {
            if let Reply::Ran { logits, .. } = reply {
                found = logits.to_vec();
            }
        },
    );
    assert_eq!(found.len(), 4 * CLASSES);
    found
}

fn refused(refusal: Refusal<'_>) -> String {
    format!("{:?}", Reply::Refused(refusal))
}

#[test]
fn a_calibration_is_used_from_then_on_and_taken_back() {
    let mut flash = calibrated(0);
    let factory = logits(&mut flash);
    let reply = send(&mut flash, &committed());
    assert!(reply.contains("generation: Some(1)"), "{reply}");
    assert_eq!(record(&mut flash), Some(1));
    let first = logits(&mut flash);
    assert_ne!(first, factory);
    // The same statistics once more, and then the way back.
    send(&mut flash, &committed());
    assert_eq!(
        (record(&mut flash), logits(&mut flash)),
        (Some(2), first.clone())
    );
    for (left, expected) in [(Some(1), &first), (None, &factory)] {
        let reply = send(&mut flash, &[ask(CalibrationRequest::Rollback)]);
        assert_eq!(
            reply,
            format!(
                "{:?}",
                Reply::Calibration(CalibrationReply::InUse { record: left })
            )
        );
        assert_eq!(
            (record(&mut flash), logits(&mut flash)),
            (left, expected.clone())
        );
    }
    assert_eq!(
        send(&mut flash, &[ask(CalibrationRequest::Rollback)]),
        refused(Refusal::NoRecord)
    );
    // What was taken back is not numbered again.
    let reply = send(&mut flash, &committed());
    assert!(reply.contains("generation: Some(3)"), "{reply}");
    send(&mut flash, &[ask(CalibrationRequest::Reset)]);
    assert_eq!((record(&mut flash), logits(&mut flash)), (None, factory));
}

#[test]
fn sums_are_those_of_the_accumulators() {
    let mut flash = calibrated(0);
    let requests = [
        BEGIN,
        input(0),
        ask(CalibrationRequest::Collect),
        input(1),
        ask(CalibrationRequest::Collect),
        ask(CalibrationRequest::Sums { first: 1 }),
    ];
    let mut expected = Moments::default();
    IMAGES
        .as_flattened()
        .iter()
        .for_each(|pixel| expected.add((*pixel).into(), 0));
    converse(&mut flash, 2, &requests, |index, reply| match index {
        // The clock advances by 10 per reading.
        2 => assert_eq!(
            reply,
            Reply::Calibration(CalibrationReply::Collected {
                images: 1,
                ticks: 10
            })
        ),
        5 => assert_eq!(
            reply,
            Reply::Calibration(CalibrationReply::Sums {
                sums: &expected.to_le_bytes()
            })
        ),
        _ => {}
    });
}

#[test]
fn a_refusal_leaves_what_was_in_use() {
    let mut flash = calibrated(2);
    let before = logits(&mut flash);
    let few = [calibration(31), vec![COMMIT]].concat();
    let reply = send(&mut flash, &few);
    let rejection = Rejection::Images {
        found: 31,
        least: 32,
    };
    assert!(reply.contains(&format!("{rejection:?}")), "{reply}");
    assert!(reply.contains("generation: None"), "{reply}");
    assert_eq!((record(&mut flash), logits(&mut flash)), (Some(2), before));
    // There is room for a third record, so that the first is still there.
    send(&mut flash, &[ask(CalibrationRequest::Rollback)]);
    assert_eq!(record(&mut flash), Some(1));
}

#[test]
fn nothing_is_committed_on_trial() {
    let mut flash = calibrated(0);
    let judge = ask(CalibrationRequest::Judge {
        labels: true,
        force: false,
        commit: false,
    });
    let reply = send(&mut flash, &[calibration(32), vec![judge]].concat());
    assert!(
        reply.contains("verdict: Ok") && reply.contains("generation: None"),
        "{reply}"
    );
    assert_eq!(record(&mut flash), None);
}

#[test]
fn a_record_is_read_in_parts_and_says_what_it_is() {
    let mut flash = calibrated(1);
    let mut bytes = Vec::new();
    let requests = [0, 100].map(|offset| ask(CalibrationRequest::RecordPlace { place: 0, offset }));
    converse(&mut flash, 2, &requests, |index, reply| {
        let Reply::Calibration(CalibrationReply::RecordPlace { places, data }) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(places, 3);
        bytes.truncate(100 * index);
        bytes.extend(data);
    });
    // A block of the flash.
    assert_eq!(bytes.len(), 256);
    let model = calibratable_model(7);
    let model = crate::format::Model::new_checked(&model).expect("is a model");
    let plan = crate::calibration::Plan::of(&model).expect("has a plan");
    let read = crate::calibration::Record::new_checked(&bytes, model.identity(), plan.checksum());
    let header = *read.expect("is a record").header();
    assert_eq!(
        (
            header.generation,
            header.images,
            header.prior,
            header.layers
        ),
        (1, 32, 16, 1)
    );
    let empty = [(1, 0), (2, 9)]
        .map(|(place, offset)| ask(CalibrationRequest::RecordPlace { place, offset }));
    converse(&mut flash, 2, &empty, |_, reply| {
        let erased = |data: &[u8]| !data.is_empty() && data.iter().all(|byte| *byte == 0xff);
        assert!(
            matches!(reply, Reply::Calibration(CalibrationReply::RecordPlace { data, .. }) if erased(data)),
            "{reply:?}"
        );
    });
    let fourth = ask(CalibrationRequest::RecordPlace {
        place: 3,
        offset: 0,
    });
    let refusal = Refusal::Index { index: 3, count: 3 };
    assert_eq!(send(&mut flash, &[fourth]), refused(refusal));
}

#[test]
fn a_model_that_is_written_anew_has_the_factorys_parameters() {
    let mut flash = calibrated(1);
    for other in [8, 7] {
        send(&mut flash, &flash_requests(&calibratable_model(other)));
        assert_eq!(record(&mut flash), None);
    }
}

#[test]
fn requests_out_of_place_are_refused() {
    let collect = ask(CalibrationRequest::Collect);
    let finish = ask(CalibrationRequest::FinishPass);
    let cases: [(&[Request<'_>], Refusal<'_>); 9] = [
        (&[input(0), collect], Refusal::NotCalibrating),
        (
            &[ask(CalibrationRequest::Sums { first: 0 })],
            Refusal::NotCalibrating,
        ),
        (&[BEGIN, finish], Refusal::NoInput),
        (&[BEGIN, COMMIT], Refusal::PassesLeft { left: 1 }),
        (
            &[BEGIN, input(0), trial(Tally::Seen)],
            Refusal::PassesLeft { left: 1 },
        ),
        (
            &[BEGIN, input(0), collect, finish, finish],
            Refusal::NoPassLeft,
        ),
        (
            &[BEGIN, ask(CalibrationRequest::Sums { first: 2 })],
            Refusal::Index { index: 2, count: 2 },
        ),
        (
            &[
                BEGIN,
                input(0),
                collect,
                finish,
                input(0),
                trial(Tally::After),
                COMMIT,
            ],
            Refusal::Trials {
                before: 0,
                after: 1,
            },
        ),
        (&[ask(CalibrationRequest::Rollback)], Refusal::NoRecord),
    ];
    let mut flash = calibrated(0);
    for (requests, refusal) in cases {
        assert_eq!(send(&mut flash, requests), refused(refusal), "{requests:?}");
    }
}

#[test]
fn a_board_that_cannot_calibrate_says_why() {
    let mut flash = MemoryFlash::new();
    assert_eq!(send(&mut flash, &[BEGIN]), refused(Refusal::NoModel));
    send(&mut flash, &flash_requests(&tiny_model(0, 0)));
    assert_eq!(send(&mut flash, &[BEGIN]), refused(Refusal::NoStatistics));
    // Four slots of 1 KiB have no blocks left behind the model.
    let mut flash = MemoryFlash::new();
    let mut last = String::new();
    let model = calibratable_model(7);
    let requests = [flash_requests(&model), vec![BEGIN]].concat();
    converse(&mut flash, 4, &requests, |_, reply| {
        last = format!("{reply:?}")
    });
    let refusal = Refusal::RecordRoom {
        needed: 512,
        available: 0,
    };
    assert_eq!(last, refused(refusal));
    const {
        assert!(
            ARENA_BYTES == CALIBRATABLE_ARENA_BYTES + 32,
            "just enough for the sums"
        )
    };
}

/// Cuts the power at every byte that `requests` change, and says with which record the board comes
/// up; with each it has to give the logits that it gave before or gives afterwards.
fn cut_everywhere(before: &MemoryFlash, requests: &[Request<'_>]) -> Vec<Option<u32>> {
    let known = |flash: &MemoryFlash| {
        let mut flash = flash.clone();
        (record(&mut flash), logits(&mut flash))
    };
    let mut whole = before.clone();
    send(&mut whole, requests);
    let states = [known(before), known(&whole)];
    let mut seen = Vec::new();
    for power in 0.. {
        let mut flash = before.clone();
        flash.power = power;
        converse(&mut flash, 2, requests, |_, _| {});
        let is_whole = flash.power > 0;
        flash.power = usize::MAX;
        let state = known(&flash);
        assert!(
            states.contains(&state),
            "power for {power} bytes: {state:?}"
        );
        seen.push(state.0);
        if is_whole {
            assert_eq!(state, states[1]);
            return seen;
        }
        // Whatever there is, the board goes on from it.
        let last = send(&mut flash, &committed());
        assert!(
            last.contains("generation: Some"),
            "power for {power} bytes: {last}"
        );
    }
    seen
}

#[test]
fn wherever_the_power_fails_a_calibration_is_whole_or_not_there() {
    for times in [0, 1, 2, 3] {
        let old = (times > 0).then_some(times);
        let seen = cut_everywhere(&calibrated(times), &committed());
        // A record of one block is at least written, its place not always erased.
        assert!(seen.len() > 128 + 32, "{}", seen.len());
        assert!(seen.contains(&old) && seen.contains(&Some(times + 1)));
    }
}

#[test]
fn wherever_the_power_fails_a_record_is_taken_back_or_not() {
    let seen = cut_everywhere(&calibrated(2), &[ask(CalibrationRequest::Rollback)]);
    assert!(seen.contains(&Some(2)) && seen.contains(&Some(1)));
    let seen = cut_everywhere(&calibrated(3), &[ask(CalibrationRequest::Reset)]);
    assert!(seen.len() > 3 * 256 && seen.contains(&Some(3)) && seen.contains(&None));
}

/// The inputs of a calibration: the first 32 for every pass and for the new parameters, then the rest
/// with both.
fn calibration_on<'a>(pixels: impl Fn(u32, SensorInput) -> Request<'a>) -> Vec<Request<'a>> {
    let collect = ask(CalibrationRequest::Collect);
    let mut requests = vec![BEGIN];
    for request in [collect, trial(Tally::Seen)] {
        for index in 0..32 {
            let input = match index {
                0 => SensorInput::First,
                _ => SensorInput::Next,
            };
            requests.extend([pixels(index, input), request]);
        }
        if request == collect {
            requests.push(ask(CalibrationRequest::FinishPass));
        }
    }
    for index in 32..SENSED {
        requests.extend([pixels(index, SensorInput::Next), trial(Tally::Before)]);
        requests.extend([pixels(index, SensorInput::Same), trial(Tally::After)]);
    }
    requests.push(COMMIT);
    requests
}

#[test]
fn the_boards_own_sensor_leads_to_the_record_of_the_same_inputs() {
    let inputs: Vec<_> = (0..SENSED).map(sensed).collect();
    let sent = calibration_on(|index, _| Request::Input {
        offset: 0,
        data: &inputs[index as usize],
    });
    let own = calibration_on(|_, input| ask(CalibrationRequest::Sense { input }));
    let records = [sent, own].map(|requests| {
        let mut flash = calibrated(0);
        let judged = send(&mut flash, &requests);
        assert!(judged.contains("generation: Some(1)"), "{judged}");
        let place = ask(CalibrationRequest::RecordPlace {
            place: 0,
            offset: 0,
        });
        (judged, send(&mut flash, &[place]))
    });
    assert_eq!(records[0], records[1]);
}

#[test]
fn a_sensor_that_has_no_more_inputs_says_so() {
    let next = ask(CalibrationRequest::Sense {
        input: SensorInput::Next,
    });
    let mut requests = vec![next; SENSED as usize];
    requests.extend([Request::Run { digests: false }, next]);
    let refusal = Refusal::Sensor(SensorFault::Ended { count: SENSED });
    let last = send(&mut calibrated(0), &requests);
    assert_eq!(last, format!("{:?}", Reply::Refused(refusal)));
}
