//! Settings from three layers: flags over a file over a preset.

use std::path::Path;

use fs_err as fs;
use toml::{Table, Value};

use super::{Config, Preset, Widths};
use crate::dfq::{Error, Method, Result};

/// A settings file, checked for names and types.
struct File<'a> {
    path: &'a Path,
    text: String,
    table: Table,
}

/// The settings that `flags` give over those of `file` over those of the preset that either names
/// (`cifar10` if none does). Keys are those of [`Config`]; what a preset has depends on the method
/// and the widths.
///
/// # Errors
/// [`Error::ConfigFile`] with file and line for an unknown key, a wrong type or a value outside its
/// range; [`Error::Setting`] for such a flag; [`Error::NoBits`] if nothing gives the widths.
pub fn resolve(file: Option<&Path>, flags: Table) -> Result<Config> {
    let file = file.map(File::read).transpose()?;
    let mut given = file
        .as_ref()
        .map(|file| file.table.clone())
        .unwrap_or_default();
    merge(&mut given, flags.clone());
    let config = with_preset(given)?;
    config.check().map_err(|error| match &file {
        Some(file) => file.locate(error, &flags),
        None => error,
    })?;
    Ok(config)
}

fn with_preset(given: Table) -> Result<Config> {
    let preset: Option<Preset> = get(&given, "preset")?;
    let method: Option<Method> = get(&given, "method")?;
    let bits: Widths = get(&given, "bits")?.ok_or(Error::NoBits)?;
    let preset = preset
        .unwrap_or_default()
        .config_for(method.unwrap_or_default(), bits.most);
    let mut table = Table::try_from(preset)?;
    merge(&mut table, given);
    table
        .try_into()
        .map_err(|error| Error::Layers(Box::new(error)))
}

fn get<T: serde::de::DeserializeOwned>(table: &Table, key: &str) -> Result<Option<T>> {
    let value = table.get(key).cloned().map(Value::try_into);
    value
        .transpose()
        .map_err(|error| Error::Layers(Box::new(error)))
}

/// Puts `over` on top of `table`, table by table.
fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

impl<'a> File<'a> {
    fn read(path: &'a Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let checked: std::result::Result<Config, _> = toml::from_str(&text);
        let table = checked.and_then(|_| text.parse::<Table>());
        match table {
            Ok(table) => Ok(Self { path, text, table }),
            Err(error) => Err(explain(path, &text, &error)),
        }
    }

    /// Adds the line to an error about a setting that comes from this file.
    fn locate(&self, error: Error, flags: &Table) -> Error {
        let Error::Setting { name, .. } = error else {
            return error;
        };
        if flags.contains_key(name) || !self.table.contains_key(name) {
            return error;
        }
        let is_key = |line: &str| {
            line.trim_start()
                .strip_prefix(name)
                .is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        Error::ConfigFile {
            path: self.path.to_owned(),
            line: self
                .text
                .lines()
                .position(is_key)
                .map_or(1, |index| index + 1),
            message: error.to_string(),
        }
    }
}

/// An error of the TOML reader in one line, with the key that was probably meant.
pub(in crate::dfq) fn explain(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let message = error.message();
    Error::ConfigFile {
        path: path.to_owned(),
        line: text.as_bytes()[..start]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1,
        message: unknown_key(message).unwrap_or_else(|| message.trim().replace('\n', ", ")),
    }
}

/// `serde` lists the known keys in backticks behind the unknown one.
fn unknown_key(message: &str) -> Option<String> {
    let mut names = message
        .strip_prefix("unknown field ")?
        .split('`')
        .skip(1)
        .step_by(2);
    let unknown = names.next()?;
    let nearest = names
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .min();
    let hint = match nearest {
        Some((distance, known)) if distance <= 1 + unknown.len() / 4 => {
            format!("; did you mean `{known}`?")
        }
        _ => "; `lowbit settings` shows all".to_owned(),
    };
    Some(format!("there is no setting `{unknown}`{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn resolved(text: &str, flags: &str) -> Result<Config> {
        resolve(Some(file(text).path()), flags.parse().unwrap())
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_the_preset() {
        let text = "preset = \"imagenet-resnet50\"\nbits = \"w3a3\"\nepochs = 7\nlambda_l = 0.2";
        let config = resolved(text, "bits = \"w4a4\"\nepochs = 9").unwrap();
        assert_eq!((config.epochs, config.lambda_l), (9, 0.2));
        // The flag's width chooses the preset's row.
        assert_eq!((config.alpha_ds, config.warmup_epochs), (0.1, 50));
        let alone = resolve(None, "bits = \"w3a3\"".parse().unwrap()).unwrap();
        assert_eq!(
            alone,
            Preset::Cifar10.config_for(Method::Adadfq, alone.bits.most)
        );
    }

    #[test]
    fn what_is_shown_can_be_given_back() {
        let config = resolved(
            "",
            "bits = \"w5a5\"\npreset = \"imagenet-resnet18\"\nseed = 7",
        )
        .unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(resolved(&text, "").unwrap(), config);
    }

    #[test]
    fn mistakes_in_the_file_are_shown_by_line() {
        let cases = [
            ("epochs = 3\nepoch = 4", 2, "did you mean `epochs`?"),
            ("# settings\n\nlamda_l = 0.1", 3, "did you mean `lambda_l`?"),
            ("colour = 1", 1, "`lowbit settings` shows all"),
            ("batch = 16\nepochs = \"many\"", 2, "expected usize"),
            ("bits = \"w9a9\"", 1, "w9a9"),
            ("preset = \"imagenet\"", 1, "unknown variant"),
            ("epochs = 3\nepochs = 4", 2, "duplicate key"),
            ("bits = \"w4a4\"\n batch=1", 2, "at least 2"),
            ("epochs = ", 1, ""),
        ];
        for (text, line, expected) in cases {
            let file = file(text);
            let error = resolve(Some(file.path()), Table::new())
                .unwrap_err()
                .to_string();
            let place = format!("{}:{line}: ", file.path().display());
            assert!(
                error.starts_with(&place) && error.contains(expected),
                "{text}: {error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_senseless_flag_is_not_blamed_on_the_file() {
        let error = resolved("bits = \"w4a4\"\nbatch = 4", "batch = 1").unwrap_err();
        assert!(
            matches!(error, Error::Setting { name: "batch", .. }),
            "{error}"
        );
        assert!(matches!(
            resolved("epochs = 3", "").unwrap_err(),
            Error::NoBits
        ));
    }
}
