//! Data on standard output, talk on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::Failure;
use super::log::told;

/// How to talk to the user.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// Print one JSON object on standard output instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on standard error but errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Show no progress bars
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Log more; twice for even more. `RUST_LOG` has the last word
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Output {
    /// Prints the result: the JSON object with `--json`, the text otherwise.
    pub(crate) fn result(
        self,
        json: &impl serde::Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let printed = if self.json {
            serde_json::to_string(json)?
        } else {
            text()
        };
        match writeln!(io::stdout(), "{}", printed.trim_end_matches('\n')) {
            // The reader has seen enough, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    /// Tells the user what happens now.
    pub(crate) fn say(self, text: impl std::fmt::Display) {
        if !self.quiet {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(io::stderr(), "{text}");
        }
        told!(info, text);
    }

    /// Whether bars can be seen. Without a terminal there is one line per stage instead.
    pub(crate) fn shows_bars(self) -> bool {
        !self.quiet && !self.no_progress && io::stderr().is_terminal()
    }

    /// A bar of `length` steps, invisible where bars cannot be seen.
    pub(crate) fn bar(self, length: u64, stage: &str) -> ProgressBar {
        let target = if self.shows_bars() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix:>12} [{bar:28}] {pos}/{len} {per_sec} {msg} {eta} left",
        ) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(stage.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}

/// Lines of `name  value`, the values aligned.
pub(crate) fn table(rows: &[(&str, String)]) -> String {
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}

/// Columns of numbers aligned to the right, of text to the left; a line below the header.
pub(crate) fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let width = |column: usize| {
        let widest = cells(column)
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0);
        widest.max(header[column].chars().count())
    };
    let is_number = |cell: &String| cell.starts_with(|first: char| first.is_ascii_digit());
    let numeric = |column: usize| cells(column).all(|cell| cell == "-" || is_number(cell));
    let layout = (0..header.len()).map(|column| (width(column), numeric(column)));
    let layout = layout.collect::<Vec<_>>();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&layout).map(|(cell, &(width, numeric))| {
            if numeric {
                format!("{cell:>width$}")
            } else {
                format!("{cell:width$}")
            }
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    let total = layout.iter().map(|(width, _)| width).sum::<usize>() + 2 * (header.len() - 1);
    text.push_str(&format!("{}\n", "-".repeat(total)));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// `12345678` as `12 345 678`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut groups = vec![&digits[..first]];
    groups.extend(digits.as_bytes()[first..].chunks(3).map(|group| {
        // Digits are ASCII.
        std::str::from_utf8(group).unwrap_or_default()
    }));
    groups.retain(|group| !group.is_empty());
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234), "1 234");
        assert_eq!(grouped(12_345_678), "12 345 678");
    }

    #[test]
    fn columns_line_up() {
        let row = |name: &str, op: &str, macs: &str| vec![name.into(), op.into(), macs.into()];
        let rows = [row("conv1", "conv", "12"), row("fc", "linear", "-")];
        let expected = "layer  op      MACs\n\
                        -------------------\n\
                        conv1  conv      12\n\
                        fc     linear     -\n";
        assert_eq!(columns(&["layer", "op", "MACs"], &rows), expected);
    }
}
