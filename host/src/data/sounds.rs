//! A folder of WAV files for each class, which become the features of the keyword network by the
//! board's own front end.

use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec};
use lowbit_runtime::mfcc::{
    COEFFICIENTS, FEATURES, FRAMES, Quantization, SAMPLE_RATE, SAMPLES, Scratch, features,
};
use rayon::prelude::*;

use super::classes::{classes, files_in_turn, has_extension};
use super::{Dataset, Error, keywords};

/// The only kind of file that is read: the front end is made for it, and resampling is a matter of
/// taste.
const EXPECTED: WavSpec = WavSpec {
    channels: 1,
    sample_rate: SAMPLE_RATE as u32,
    bits_per_sample: 16,
    sample_format: SampleFormat::Int,
};

/// Features of the first second of each file, class by class in turn, at most `limit` of them.
/// Classes are the folders in the order of their names, or in MLPerf Tiny's if they have the names
/// of its classes.
pub(super) fn load(folder: &Path, limit: Option<usize>) -> Result<Dataset, Error> {
    let classes = in_order(classes(folder)?);
    let files = files_in_turn(&classes, is_sound, limit)?;
    if files.is_empty() && limit != Some(0) {
        return Err(Error::NoSounds(folder.to_owned()));
    }
    let sounds: Vec<_> = files
        .par_iter()
        .map(|(_, path)| read(path))
        .collect::<Result<_, _>>()?;
    Ok(Dataset {
        name: "wav".to_owned(),
        shape: [FRAMES, COEFFICIENTS, 1],
        classes: classes.len(),
        pixels: sounds.into_flattened(),
        labels: files.iter().map(|&(class, _)| class).collect(),
    })
}

fn is_sound(path: &Path) -> bool {
    has_extension(path, &["wav"])
}

fn in_order(classes: Vec<PathBuf>) -> Vec<PathBuf> {
    let called = |label: &str| {
        classes.iter().find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            // Speech Commands has `_silence_` and `_unknown_`.
            name.is_some_and(|name| name.trim_matches('_').eq_ignore_ascii_case(label))
        })
    };
    let known: Vec<_> = keywords::LABELS
        .iter()
        .filter_map(|&label| called(label))
        .collect();
    if known.len() == keywords::LABELS.len() && known.len() == classes.len() {
        known.into_iter().cloned().collect()
    } else {
        classes
    }
}

fn read(path: &Path) -> Result<[u8; FEATURES], Error> {
    let wrong = |what: String| Error::Sound {
        path: path.to_owned(),
        what,
    };
    let file = std::io::BufReader::new(fs_err::File::open(path)?);
    let damaged = |error| wrong(format!("it is no whole WAV file: {error}"));
    let mut reader = WavReader::new(file).map_err(damaged)?;
    let spec = reader.spec();
    if spec != EXPECTED {
        return Err(wrong(format!(
            "{} expected, it has {}; convert it: `ffmpeg -i IN.wav -ar {SAMPLE_RATE} -ac 1 \
             -sample_fmt s16 OUT.wav`",
            described(EXPECTED),
            described(spec)
        )));
    }
    let samples: Vec<i16> = reader
        .samples()
        .take(SAMPLES)
        .collect::<Result<_, _>>()
        .map_err(damaged)?;
    let mut bytes = [0; FEATURES];
    features(
        &samples,
        Quantization::KEYWORDS,
        &mut Scratch::new(),
        &mut bytes,
    );
    Ok(bytes)
}

fn described(spec: WavSpec) -> String {
    let WavSpec {
        channels,
        sample_rate,
        bits_per_sample,
        sample_format,
    } = spec;
    let channels = match channels {
        1 => "one channel".to_owned(),
        many => format!("{many} channels"),
    };
    let kind = match sample_format {
        SampleFormat::Int => "integers",
        SampleFormat::Float => "floating-point numbers",
    };
    format!("{sample_rate} Hz, {channels} and {kind} of {bits_per_sample} bits")
}

#[cfg(test)]
mod tests {
    use hound::WavWriter;
    use proptest::prelude::*;

    use super::*;

    fn write(path: &Path, spec: WavSpec, samples: &[i16]) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = WavWriter::create(path, spec).unwrap();
        for &sample in samples {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
    }

    fn features_of(samples: &[i16]) -> [u8; FEATURES] {
        let mut bytes = [0; FEATURES];
        features(
            samples,
            Quantization::KEYWORDS,
            &mut Scratch::new(),
            &mut bytes,
        );
        bytes
    }

    #[test]
    fn the_first_second_of_each_file_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let rising: Vec<i16> = (0..20_000).map(|n| (n * n % 7919) as i16).collect();
        write(&folder.path().join("b/long.WAV"), EXPECTED, &rising);
        write(&folder.path().join("a/short.wav"), EXPECTED, &rising[..500]);
        fs_err::write(folder.path().join("a/notes.txt"), "x").unwrap();
        let data = load(folder.path(), None).unwrap();
        assert_eq!((data.shape, data.classes), ([49, 10, 1], 2));
        assert_eq!(data.labels, [0, 1]);
        assert_eq!(data.image(0), features_of(&rising[..500]));
        assert_eq!(data.image(1), features_of(&rising[..16_000]));
        assert_eq!(load(folder.path(), Some(1)).unwrap().len(), 1);
    }

    #[test]
    fn the_benchmarks_classes_are_in_its_order() {
        let named = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let mut classes = named(&keywords::LABELS);
        classes[11] = "_unknown_".into();
        let expected = classes.clone();
        classes.sort();
        assert_eq!(in_order(classes), expected);
        let others = named(&["no", "yes"]);
        assert_eq!(in_order(others.clone()), others);
    }

    #[test]
    fn other_kinds_of_files_are_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("yes/1.wav");
        let music = WavSpec {
            channels: 2,
            sample_rate: 44_100,
            ..EXPECTED
        };
        write(&path, music, &[0; 100]);
        let message = load(folder.path(), None).unwrap_err().to_string();
        for part in ["yes/1.wav", "44100 Hz, 2 channels", "-ar 16000"] {
            assert!(message.contains(part), "{message}");
        }
        fs_err::write(&path, "no sound").unwrap();
        let message = load(folder.path(), None).unwrap_err().to_string();
        assert!(message.contains("yes/1.wav`: it is no whole"), "{message}");
        fs_err::remove_file(&path).unwrap();
        assert!(matches!(load(folder.path(), None), Err(Error::NoSounds(_))));
    }

    proptest! {
        #[test]
        fn damaged_files_are_sounds_or_errors(
            place in 0usize..60,
            damage in prop::collection::vec(any::<u8>(), 1..5),
            length in 0usize..=144,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("1.wav");
            write(&path, EXPECTED, &[100; 50]);
            let mut bytes = fs_err::read(&path).unwrap();
            bytes.splice(place..place + damage.len(), damage);
            bytes.truncate(length);
            fs_err::write(&path, bytes).unwrap();
            let _ = read(&path);
        }
    }
}
