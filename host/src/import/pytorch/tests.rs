use std::io::{Cursor, Write};

use proptest::prelude::*;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::*;

const FIRST: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
const SECOND: [f32; 2] = [0.5, -1.0];

/// `_rebuild_tensor_v2` with storage `key` of `count` floats, sizes and steps of two axes.
fn rebuilt(key: u8, count: u8, sizes: [u8; 2], steps: [u8; 2], legacy: bool) -> Vec<u8> {
    let mut bytes =
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    bytes.extend(
        [
            b"X\x01\0\0\0",
            &[b'0' + key][..],
            b"X\x03\0\0\0cpuK",
            &[count],
        ]
        .concat(),
    );
    bytes.extend(if legacy { &b"NtQ"[..] } else { b"tQ" });
    bytes.extend([
        b'K', 0, b'K', sizes[0], b'K', sizes[1], 0x86, b'K', steps[0], b'K', steps[1], 0x86,
    ]);
    bytes.extend(b"\x89}tR");
    bytes
}

fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    let length = (name.len() as u32).to_le_bytes();
    [&b"X"[..], &length, name.as_bytes(), value].concat()
}

fn dict(entries: &[Vec<u8>]) -> Vec<u8> {
    [
        &b"ccollections\nOrderedDict\n)R("[..],
        &entries.concat(),
        b"u",
    ]
    .concat()
}

/// Two tensors, and a transposed view of the first one.
fn weights_of(legacy: bool) -> Vec<u8> {
    dict(&[
        entry("a.weight", &rebuilt(0, 6, [2, 3], [3, 1], legacy)),
        entry("a.turned", &rebuilt(0, 6, [3, 2], [1, 3], legacy)),
        entry("b", &rebuilt(1, 2, [2, 1], [1, 1], legacy)),
    ])
}

fn program(object: &[u8]) -> Vec<u8> {
    [b"\x80\x02", object, b"."].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn archive(object: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in [
        ("net/data.pkl", program(object)),
        ("net/byteorder", b"little".to_vec()),
        ("net/data/0", floats(&FIRST)),
        ("net/data/1", floats(&SECOND)),
        ("net/version", b"3\n".to_vec()),
    ] {
        zip.start_file(name, stored).unwrap();
        zip.write_all(&content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn legacy(object: &[u8]) -> Vec<u8> {
    let magic = program(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
    let keys = program(b"](X\x01\0\0\x000X\x01\0\0\x001e");
    let storage =
        |values: &[f32]| [&(values.len() as u64).to_le_bytes()[..], &floats(values)].concat();
    [
        magic,
        program(b"M\xe9\x03"),
        program(b"}"),
        program(object),
        keys,
        storage(&FIRST),
        storage(&SECOND),
    ]
    .concat()
}

fn read(bytes: Vec<u8>) -> Result<TorchFile, Error> {
    TorchFile::decode(Path::new("net.pth"), bytes)
}

fn message(bytes: Vec<u8>) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn both_formats_are_read_views_included() {
    for bytes in [archive(&weights_of(false)), legacy(&weights_of(true))] {
        let file = read(bytes).unwrap();
        assert_eq!(file.names(), ["a.turned", "a.weight", "b"]);
        let values = |name: &str, shape: &[usize]| {
            let tensor = file.tensor(name, shape).unwrap();
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(values("a.weight", &[2, 3]), FIRST);
        assert_eq!(values("a.turned", &[3, 2]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(values("b", &[2, 1]), SECOND);
        let error = file.tensor("b", &[2]).unwrap_err().to_string();
        assert!(error.contains("shape [2, 1]; [2] expected"), "{error}");
    }
}

#[test]
fn tensors_may_share_a_storage() {
    let mut second = rebuilt(0, 6, [1, 3], [3, 1], false);
    let offset = second.windows(3).position(|bytes| bytes == b"tQK").unwrap() + 3;
    second[offset] = 3;
    let mut turned = rebuilt(0, 6, [2, 2], [1, 2], false);
    turned[offset] = 2;
    let object = dict(&[
        entry("first", &rebuilt(0, 6, [1, 3], [3, 1], false)),
        entry("second", &second),
        entry("turned", &turned),
    ]);
    let file = read(archive(&object)).unwrap();
    for (name, shape, expected) in [
        ("first", [1, 3], &[0.0, 1.0, 2.0][..]),
        ("second", [1, 3], &[3.0, 4.0, 5.0]),
        ("turned", [2, 2], &[2.0, 4.0, 3.0, 5.0]),
    ] {
        let tensor = file.tensor(name, &shape).unwrap();
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values, expected, "{name}");
    }
}

#[test]
fn weights_within_a_checkpoint_are_found() {
    let weights = weights_of(false);
    for keys in [&["state_dict"][..], &["anything"], &["outer", "model"]] {
        let mut object = weights.clone();
        for key in keys.iter().rev() {
            object = dict(&[entry("epoch", b"K\x07"), entry(key, &object)]);
        }
        assert_eq!(read(archive(&object)).unwrap().names().len(), 3);
    }
    let both = dict(&[entry("x", &dict(&[])), entry("y", &dict(&[]))]);
    let error = message(archive(&both));
    assert!(
        error.contains("without tensors") && error.contains("state_dict()"),
        "{error}"
    );
}

#[test]
fn other_contents_say_what_to_do() {
    let module = b"cmodels.resnet\nResNet\n)\x81}(X\x01\0\0\0aK\x01ub";
    let error = message(archive(module));
    assert!(
        error.contains("`models.resnet.ResNet`, a whole module"),
        "{error}"
    );
    assert!(error.contains("torch.save(model.state_dict()"), "{error}");
    let error = message(archive(b"K\x01"));
    assert!(error.contains("no dictionary of tensors"), "{error}");
    let error = message(b"not a checkpoint".to_vec());
    assert!(
        error.contains("neither a ZIP archive nor a pickle"),
        "{error}"
    );
    let quantized = dict(&[entry("q", b"ctorch._utils\n_rebuild_qtensor\n)R")]);
    let error = message(archive(&quantized));
    assert!(
        error.contains("`q`") && error.contains("_rebuild_qtensor"),
        "{error}"
    );
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    for (sizes, steps) in [([2, 4], [4, 1]), ([2, 3], [4, 1]), ([200, 200], [0, 0])] {
        let object = dict(&[entry("w", &rebuilt(0, 6, sizes, steps, false))]);
        let file = read(archive(&object)).unwrap();
        let shape = sizes.map(usize::from);
        let error = file.tensor("w", &shape).unwrap_err().to_string();
        assert!(
            error.contains("does not fit its 6 stored elements"),
            "{error}"
        );
    }
    let object = dict(&[entry("w", &rebuilt(0, 200, [2, 100], [100, 1], false))]);
    let error = read(archive(&object))
        .unwrap()
        .tensor("w", &[2, 100])
        .unwrap_err();
    assert!(
        error.to_string().contains("24 bytes; 800 expected"),
        "{error}"
    );
}

fn use_all(bytes: Vec<u8>) {
    if let Ok(file) = read(bytes) {
        for name in file.names() {
            if let Some(shape) = file.shape(&name) {
                let _ = file.tensor(&name, shape);
            }
        }
    }
}

proptest! {
    #[test]
    fn damaged_files_give_errors(
        old in any::<bool>(),
        cut in 0usize..2000,
        flips in prop::collection::vec((0usize..2000, 0u8..8), 0..4),
    ) {
        let mut bytes = if old { legacy(&weights_of(true)) } else { archive(&weights_of(false)) };
        for (place, bit) in flips {
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
        }
        bytes.truncate(if cut < 1000 { bytes.len() } else { cut % bytes.len() });
        use_all(bytes);
    }
}
