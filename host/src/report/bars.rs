//! Numbers as bars below each other.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curves::COLOURS;

const WIDTH: i32 = 480;
const TOP: i32 = 32;
const ROW: i32 = 20;
const LABELS: i32 = 150;
const VALUES: i32 = 110;

/// Bars that share their scale, which starts at 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// Title above them.
    pub title: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// On its left.
    pub label: String,
    /// Its length; what is negative or no number has none.
    pub value: f64,
    /// On its right.
    pub text: String,
}

/// The bars as an SVG to be put into a page.
pub(super) fn figure(bars: &Bars) -> Result<String, Box<dyn std::error::Error>> {
    let mut picture = String::new();
    let height = TOP + ROW * bars.bars.len() as i32 + 8;
    let area = SVGBackend::with_string(&mut picture, (WIDTH as u32, height as u32));
    let area = area.into_drawing_area();
    let text = |size: i32, horizontal| {
        let style = TextStyle::from(("sans-serif", size));
        style.pos(Pos::new(horizontal, VPos::Center))
    };
    let title = text(16, HPos::Center);
    area.draw(&Text::new(bars.title.as_str(), (WIDTH / 2, TOP / 2), title))?;
    let greatest = bars.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    for (index, bar) in bars.bars.iter().enumerate() {
        let middle = TOP + ROW * index as i32 + ROW / 2;
        let share = (bar.value / greatest).clamp(0.0, 1.0);
        let length = (f64::from(WIDTH - LABELS - VALUES) * share) as i32;
        let label = Text::new(
            bar.label.as_str(),
            (LABELS - 6, middle),
            text(12, HPos::Right),
        );
        let corners = [(LABELS, middle - 7), (LABELS + length, middle + 7)];
        let value = (LABELS + length + 6, middle);
        let value = Text::new(bar.text.as_str(), value, text(12, HPos::Left));
        area.draw(&label)?;
        area.draw(&Rectangle::new(corners, COLOURS[0].filled()))?;
        area.draw(&value)?;
    }
    area.present()?;
    drop(area);
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64) -> Bar {
        Bar {
            label: label.into(),
            value,
            text: format!("{value} %"),
        }
    }

    #[test]
    fn lengths_are_shares_of_the_greatest() {
        let bars = Bars {
            title: "accuracy".into(),
            bars: vec![
                bar("float", 80.0),
                bar("board", 40.0),
                bar("none", f64::NAN),
            ],
        };
        let picture = figure(&bars).unwrap();
        let full = WIDTH - LABELS - VALUES;
        for width in [full, full / 2, 0] {
            assert!(
                picture.contains(&format!("width=\"{width}\"")),
                "{width} in {picture}"
            );
        }
        for words in ["accuracy", "float", "80 %", "board", "40 %"] {
            assert!(picture.contains(words), "{words} in {picture}");
        }
        let nothing = Bars {
            title: "nothing".into(),
            bars: Vec::new(),
        };
        assert!(figure(&nothing).unwrap().contains("nothing"));
    }
}
