//! The serial protocol of MLPerf Tiny, so that the benchmark's runner can drive a board as it is.
//!
//! Commands are text and end with `%`, replies are lines, the last of which is `m-ready`. A board
//! listens to it until the first zero byte, which begins a frame of its own protocol; from then on
//! it understands nothing else until it is started anew.

use core::fmt;
use core::str::SplitAsciiWhitespace;

use embedded_io::Write;

use super::commands::{Commands, PerOperation, WORD};
use super::facts::Facts;
use super::session::Parameters;
use super::{ModelFlash, Platform};
use crate::format::Model;

mod softmax;

/// Whether there is code for all this: some boards have no flash for it.
const IS_BUILT: bool = !cfg!(lowbit_without_benchmark);
/// Longest command, without its end.
const MOST_CHARACTERS: usize = 80;
/// Inferences before those that count, if a command does not say.
const WARM_UPS: u32 = 10;
/// Bytes that `db print` shows, if it does not say.
const PRINTED: u32 = 16;
const PROFILE: &str = "ULPMark for tinyML Firmware V0.0.1";
const HELP: &str = "\
help           this list\r
name           name of the board\r
profile        version of the benchmark, model\r
timestamp      microseconds since the start\r
db load N      expect N bytes of input\r
db HEX...      the next bytes\r
db print [N [OFFSET]]\r
infer N [W]    N inferences after W others\r
results        of the last inference\r
";

/// The models of the benchmark, by height, width and channels, and classes.
const MODELS: [(&str, [u16; 3], u16); 3] = [
    ("ic01", [32, 32, 3], 10),
    ("kws01", KEYWORDS, 12),
    ("vww01", [96, 96, 3], 2),
];
/// The input whose bytes have a sign, which pixels have not.
const KEYWORDS: [u16; 3] = [49, 10, 1];

/// What has come of commands.
#[derive(Debug)]
pub(super) struct Benchmark {
    listens: bool,
    line: heapless::String<MOST_CHARACTERS>,
    fault: Option<Fault>,
    /// Bytes of input to come in all.
    expected: u32,
    /// Bytes that have come.
    loaded: u32,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    TooLong,
    /// No text: what a frame or a bad cable leaves. It is not answered.
    NoText,
}

/// Why a command was not carried out.
enum Complaint {
    Unknown,
    TooLong,
    NoSubcommand,
    NoNumber(&'static str),
    OddDigits,
    NoDigit(char),
    Input {
        found: u32,
        expected: u32,
    },
    NoRoom {
        bytes: u32,
    },
    NoModel,
    NoResult,
    Failed,
    /// Nobody will read this.
    LinkFailed,
}

impl From<fmt::Error> for Complaint {
    fn from(_: fmt::Error) -> Self {
        Self::LinkFailed
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("Unknown command"),
            Self::TooLong => write!(formatter, "More than {MOST_CHARACTERS} characters"),
            Self::NoSubcommand => formatter.write_str("Command 'db' requires a subcommand"),
            Self::NoNumber(what) => write!(formatter, "{what} must be a number >0"),
            Self::OddDigits => formatter.write_str("Insufficient number of hex digits"),
            Self::NoDigit(found) => write!(formatter, "Invalid hex digit '{found}'"),
            Self::Input { found, expected } => {
                write!(
                    formatter,
                    "{found} bytes of input, the model reads {expected}"
                )
            }
            Self::NoRoom { bytes } => {
                write!(formatter, "No memory for {bytes} bytes beside the model")
            }
            Self::NoModel => formatter.write_str("No model"),
            Self::NoResult => formatter.write_str("No inference has been run"),
            Self::Failed => formatter.write_str("The inference failed"),
            Self::LinkFailed => Ok(()),
        }
    }
}

/// The link as text, which is less code than one function per link and text.
struct Text<'l, L: Write> {
    link: &'l mut L,
    result: Result<(), L::Error>,
}

impl<L: Write> fmt::Write for Text<'_, L> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.result = self.link.write_all(text.as_bytes());
        self.result.as_ref().map_err(|_| fmt::Error).copied()
    }
}

impl Benchmark {
    pub(super) fn new() -> Self {
        Self {
            listens: true,
            line: heapless::String::new(),
            fault: None,
            expected: 0,
            loaded: 0,
        }
    }

    /// Takes a byte, and answers if it ends a command.
    pub(super) fn push<L: Write, F: ModelFlash, P: Platform>(
        &mut self,
        byte: u8,
        commands: &mut Commands<'_, F, P>,
        link: &mut L,
    ) -> Result<(), L::Error> {
        if !IS_BUILT || !self.listens {
            return Ok(());
        }
        match byte {
            0 => self.listens = false,
            b'%' => return self.answer(commands, link),
            b'\r' | b'\n' => {}
            b' '..=b'~' => {
                if self.line.push(byte.into()).is_err() {
                    self.fault.get_or_insert(Fault::TooLong);
                }
            }
            _ => self.fault = Some(Fault::NoText),
        }
        Ok(())
    }

    #[inline(never)]
    fn answer<L: Write, F: ModelFlash, P: Platform>(
        &mut self,
        commands: &mut Commands<'_, F, P>,
        link: &mut L,
    ) -> Result<(), L::Error> {
        let line = core::mem::take(&mut self.line);
        let fault = self.fault.take();
        if matches!(fault, Some(Fault::NoText)) {
            return Ok(());
        }
        let result = Ok(());
        let mut text = Text { link, result };
        let carried = match fault {
            None => self.carry_out(&line, commands, &mut text),
            Some(_) => Err(Complaint::TooLong),
        };
        // Whether the link has failed is asked below.
        let _ = finish(carried, &mut text);
        text.result?;
        link.flush()
    }

    fn carry_out<F: ModelFlash, P: Platform>(
        &mut self,
        line: &str,
        commands: &mut Commands<'_, F, P>,
        text: &mut dyn fmt::Write,
    ) -> Result<(), Complaint> {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            None => Ok(()),
            Some("name") => {
                let name = commands.description.name;
                Ok(write!(text, "m-name-dut-[{name}]\r\n")?)
            }
            Some("profile") => {
                let model = model_name(commands);
                Ok(write!(
                    text,
                    "m-profile-[{PROFILE}]\r\nm-model-[{model}]\r\n"
                )?)
            }
            Some("timestamp") => Ok(lap(&mut commands.platform, text)?),
            Some("db") => self.buffer(words, commands, text),
            Some("infer") => self.infer(words, commands, text),
            Some("results") => results(commands, text),
            Some("help") => Ok(text.write_str(HELP)?),
            Some(_) => Err(Complaint::Unknown),
        }
    }

    fn buffer<F: ModelFlash, P: Platform>(
        &mut self,
        mut words: SplitAsciiWhitespace<'_>,
        commands: &mut Commands<'_, F, P>,
        text: &mut dyn fmt::Write,
    ) -> Result<(), Complaint> {
        match words.next() {
            None => Err(Complaint::NoSubcommand),
            Some("load") => {
                let bytes = number(words.next()).filter(|&bytes| bytes > 0);
                let bytes = bytes.ok_or(Complaint::NoNumber("'db load'"))?;
                room(commands, bytes)?;
                (self.expected, self.loaded) = (bytes, 0);
                Ok(write!(text, "m-[Expecting {bytes} bytes]\r\n")?)
            }
            Some("print") => {
                let count = number(words.next()).unwrap_or(PRINTED);
                let first = number(words.next()).unwrap_or(0);
                Ok(self.print(first, count, commands, text)?)
            }
            Some(digits) => {
                self.load(digits, commands)?;
                if self.loaded == self.expected {
                    text.write_str("m-load-done\r\n")?;
                }
                Ok(())
            }
        }
    }

    /// Takes the next bytes of the input; digits behind its end are ignored.
    fn load<F: ModelFlash, P: Platform>(
        &mut self,
        digits: &str,
        commands: &mut Commands<'_, F, P>,
    ) -> Result<(), Complaint> {
        let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
            return Err(Complaint::OddDigits);
        };
        if self.expected == 0 {
            return Err(Complaint::NoNumber("'db load'"));
        }
        let input = room(commands, self.expected)?;
        let left = input.get_mut(self.loaded as usize..).unwrap_or_default();
        for (place, pair) in left.iter_mut().zip(pairs) {
            let mut byte = 0;
            for &character in pair {
                let character = char::from(character);
                let digit = character
                    .to_digit(16)
                    .ok_or(Complaint::NoDigit(character))?;
                byte = byte << 4 | digit as u8;
            }
            *place = byte;
            self.loaded += 1;
        }
        Ok(())
    }

    fn print<F: ModelFlash, P: Platform>(
        &self,
        first: u32,
        count: u32,
        commands: &mut Commands<'_, F, P>,
        text: &mut dyn fmt::Write,
    ) -> fmt::Result {
        let input = room(commands, self.expected).unwrap_or_default();
        let input = input.get(..self.loaded as usize).unwrap_or_default();
        let rest = input.get(first as usize..).unwrap_or_default();
        let shown = rest.get(..count as usize).unwrap_or(rest);
        for line in shown.chunks(8) {
            let mut separator = "m-buffer-";
            for byte in line {
                write!(text, "{separator}{byte:02x}")?;
                separator = "-";
            }
            text.write_str("\r\n")?;
        }
        Ok(())
    }

    fn infer<F: ModelFlash, P: Platform>(
        &mut self,
        mut words: SplitAsciiWhitespace<'_>,
        commands: &mut Commands<'_, F, P>,
        text: &mut dyn fmt::Write,
    ) -> Result<(), Complaint> {
        let count = words.next().map_or(Some(1), |word| number(Some(word)));
        let count = count.filter(|&count| count > 0);
        let count = count.ok_or(Complaint::NoNumber("Inference iterations"))?;
        let warm_ups = words
            .next()
            .map_or(Some(WARM_UPS), |word| number(Some(word)));
        let warm_ups = warm_ups.ok_or(Complaint::NoNumber("Inference warmup"))?;
        self.input_is_there(commands)?;
        write!(text, "m-warmup-start-{warm_ups}\r\n")?;
        repeat(commands, warm_ups)?;
        write!(text, "m-warmup-done\r\nm-infer-start-{count}\r\n")?;
        lap(&mut commands.platform, text)?;
        repeat(commands, count)?;
        lap(&mut commands.platform, text)?;
        text.write_str("m-infer-done\r\n")?;
        results(commands, text)
    }

    fn input_is_there<F: ModelFlash, P: Platform>(
        &self,
        commands: &mut Commands<'_, F, P>,
    ) -> Result<(), Complaint> {
        let expected = commands.facts.ok_or(Complaint::NoModel)?.info.pixel_bytes;
        let found = self.loaded;
        if found != expected {
            return Err(Complaint::Input { found, expected });
        }
        Ok(())
    }
}

fn number(word: Option<&str>) -> Option<u32> {
    word?.parse().ok()
}

/// What every answer ends with.
fn finish(carried: Result<(), Complaint>, text: &mut dyn fmt::Write) -> fmt::Result {
    if let Err(complaint) = carried {
        write!(text, "e-[{complaint}]\r\n")?;
    }
    text.write_str("m-ready\r\n")
}

/// Name of the model in use within the benchmark.
fn model_name<F: ModelFlash, P: Platform>(commands: &Commands<'_, F, P>) -> &'static str {
    let Ok(model) = Model::reopen(commands.slots.active_bytes()) else {
        return "none";
    };
    let header = model.header();
    let known = MODELS.iter();
    let mut known =
        known.filter(|(_, input, classes)| (input, classes) == (&header.input, &header.classes));
    known.next().map_or("custom", |(name, _, _)| name)
}

/// Memory for `bytes` of input behind what the model in use needs, if those are its input's bytes.
fn room<'b, F: ModelFlash, P: Platform>(
    commands: &'b mut Commands<'_, F, P>,
    bytes: u32,
) -> Result<&'b mut [u8], Complaint> {
    let Facts { info, .. } = commands.facts.ok_or(Complaint::NoModel)?;
    if bytes != info.pixel_bytes {
        return Err(Complaint::Input {
            found: bytes,
            expected: info.pixel_bytes,
        });
    }
    let free = commands.arena.get_mut(info.arena_bytes as usize..);
    let free = free.and_then(|free| free.get_mut(..bytes as usize));
    free.ok_or(Complaint::NoRoom { bytes })
}

/// Inferences on the input that has been loaded.
fn repeat<F: ModelFlash, P: Platform>(
    commands: &mut Commands<'_, F, P>,
    count: u32,
) -> Result<(), Complaint> {
    let Facts { info, pixels, .. } = commands.facts.ok_or(Complaint::NoModel)?;
    let model = Model::reopen(commands.slots.active_bytes());
    let is_signed = model.is_ok_and(|model| model.header().input == KEYWORDS);
    // The sign bit adds 128 to a signed byte.
    let flipped = if is_signed { 0x80 } else { 0 };
    for _ in 0..count {
        let Some((used, free)) = commands
            .arena
            .split_at_mut_checked(info.arena_bytes as usize)
        else {
            return Err(Complaint::NoModel);
        };
        let pixels = used.get_mut(pixels as usize..).unwrap_or_default();
        let input = free.get(..info.pixel_bytes as usize).unwrap_or_default();
        pixels
            .iter_mut()
            .zip(input)
            .for_each(|(pixel, byte)| *pixel = byte ^ flipped);
        commands.received = info.pixel_bytes;
        let outcome = commands.run(PerOperation::Nothing, Parameters::InUse);
        outcome.map_err(|_| Complaint::Failed)?;
    }
    Ok(())
}

/// Says what time it is.
fn lap(platform: &mut impl Platform, text: &mut dyn fmt::Write) -> fmt::Result {
    const MICROSECONDS: u64 = 1_000_000;
    let (ticks, second) = (platform.ticks(), platform.ticks_per_second().max(1));
    let fraction = (ticks % second).saturating_mul(MICROSECONDS) / second;
    let microseconds = (ticks / second).saturating_mul(MICROSECONDS) + fraction;
    write!(text, "m-lap-us-{microseconds}\r\n")
}

/// The probabilities of the classes after the last inference.
fn results<F: ModelFlash, P: Platform>(
    commands: &Commands<'_, F, P>,
    text: &mut dyn fmt::Write,
) -> Result<(), Complaint> {
    let logits = commands
        .results
        .as_ref()
        .map(|results| results.logits.clone());
    let logits = logits.and_then(|place| commands.arena.get(place));
    let (words, _) = logits.ok_or(Complaint::NoResult)?.as_chunks::<WORD>();
    let logits = words.iter().map(|word| i32::from_le_bytes(*word));
    let mut separator = "m-results-[";
    for thousandths in softmax::thousandths(logits) {
        let (whole, fraction) = (thousandths / 1000, thousandths % 1000);
        write!(text, "{separator}{whole}.{fraction:03}")?;
        separator = ",";
    }
    Ok(text.write_str("]\r\n")?)
}

#[cfg(test)]
mod tests;
