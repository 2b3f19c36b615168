use proptest::prelude::*;

use super::*;

fn root(bytes: &[u8]) -> Object {
    let pickle = Pickle::read(bytes).unwrap();
    pickle.get(pickle.root()).clone()
}

#[test]
fn atoms_are_those_of_python() {
    assert_eq!(root(b"K\x07."), Object::Int(7));
    assert_eq!(root(b"\x80\x02J\xff\xff\xff\xff."), Object::Int(-1));
    assert_eq!(root(b"\x8a\x02\x00\xff."), Object::Int(-256));
    assert_eq!(root(b"\x8a\x00."), Object::Int(0));
    assert_eq!(root(b"I01\n."), Object::Bool(true));
    assert_eq!(root(b"L12L\n."), Object::Int(12));
    assert_eq!(root(b"G\x3f\xf8\0\0\0\0\0\0."), Object::Float(1.5));
    assert_eq!(root(b"X\x02\0\0\0ab."), Object::Text("ab".into()));
    assert_eq!(root(b"U\x02ab."), Object::Bytes(b"ab".to_vec()));
    assert_eq!(root(b"S'ab'\n."), Object::Bytes(b"ab".to_vec()));
}

#[test]
fn dictionaries_of_all_protocols_are_found() {
    // pickle.dumps({"a": [1, 2], "b": (None,)}, 4)
    let four = b"\x80\x04\x95\x17\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94]\x94(K\x01K\x02e\x8c\x01b\x94N\x85\x94u.";
    // pickle.dumps({"a": [1, 2], "b": (None,)}, 0)
    let zero = b"(dp0\nVa\np1\n(lp2\nI1\naI2\nasVb\np3\n(Ntp4\ns.";
    for bytes in [&four[..], zero] {
        let pickle = Pickle::read(bytes).unwrap();
        assert_eq!(pickle.length(), bytes.len());
        let list = pickle.entry(pickle.root(), "a").unwrap();
        let sizes = pickle.elements(list).unwrap().iter();
        let sizes: Vec<_> = sizes.map(|&id| pickle.size(id).unwrap()).collect();
        assert_eq!(sizes, [1, 2]);
        let tuple = pickle.entry(pickle.root(), "b").unwrap();
        assert_eq!(pickle.elements(tuple).unwrap().len(), 1);
        assert!(pickle.entry(pickle.root(), "c").is_none());
    }
}

#[test]
fn calls_are_recorded_and_nothing_runs() {
    // os.system("echo")
    let pickle = Pickle::read(&b"cos\nsystem\n(S'echo'\ntR."[..]).unwrap();
    let Object::Call { callable, .. } = pickle.get(pickle.root()) else {
        panic!("a call expected");
    };
    assert_eq!(pickle.global(*callable), Some(("os", "system")));
    let ordered = b"ccollections\nOrderedDict\n)R(U\x01aK\x01u.";
    let pickle = Pickle::read(&ordered[..]).unwrap();
    assert!(pickle.entry(pickle.root(), "a").is_some());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (bytes, offset, what) in [
        (&b"K"[..], 0, "1 bytes expected, 0 left"),
        (b"K\x01\xff.", 2, "instruction 0xff"),
        (b"X\xff\xff\xff\xffab.", 0, "4294967295 bytes"),
        (b".", 0, "operand is missing"),
        (b"K\x01(.", 3, "before its mark"),
        (b"t.", 0, "missing mark"),
        (b"h\x00.", 0, "not kept"),
        (b"K\x01K\x02a.", 4, "something that has none"),
        (b"}(K\x01u.", 4, "key without a value"),
        (b"", 0, "1 bytes expected"),
    ] {
        let error = Pickle::read(bytes).unwrap_err();
        assert_eq!(error.offset, offset, "{error}");
        assert!(error.what.contains(what), "{error}");
    }
}

/// Doubling a list through the memo takes gigabytes in a reader that copies.
#[test]
fn memory_follows_the_length() {
    let mut bytes = b"]q\x00".to_vec();
    for _ in 0..100 {
        bytes.extend(b"(h\x00h\x00lq\x00");
    }
    bytes.push(b'.');
    assert!(Pickle::read(&bytes[..]).unwrap().objects.len() < 200);
    // A list within itself.
    assert!(Pickle::read(&b"]q\x00h\x00a."[..]).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Pickle::read(&bytes[..]);
    }

    #[test]
    fn damaged_pickles_give_errors_or_other_objects(
        flips in prop::collection::vec((0usize..100, 0u8..8), 1..5),
    ) {
        let mut bytes =
            b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\0\0\0acm\nf\n(K\x01K\x02tRq\x01h\x01Qu.".to_vec();
        for (place, bit) in flips {
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
        }
        let _ = Pickle::read(&bytes[..]);
    }
}
