//! A confusion matrix.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curves::COLOURS;

const SIDE: i32 = 440;
const MARGIN: i32 = 44;
/// With more classes than these the counts would not be readable.
const MOST_WITH_NUMBERS: usize = 20;

/// How often images of a class were taken for which class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Title above it.
    pub title: String,
    /// Number of classes.
    pub classes: usize,
    /// Label, answer and number of images, where that is not 0.
    pub counts: Vec<(u16, u16, usize)>,
}

impl Matrix {
    /// Images of class `label`.
    fn images_of(&self, label: u16) -> usize {
        let row = self.counts.iter().filter(|(found, _, _)| *found == label);
        row.map(|(_, _, images)| images).sum()
    }
}

/// A row per label and a column per answer, as an SVG to be put into a page. A cell is the darker
/// the more of its row it holds; what is right is blue, what is wrong orange.
pub(super) fn figure(matrix: &Matrix) -> Result<String, Box<dyn std::error::Error>> {
    let mut picture = String::new();
    let size = (SIDE + MARGIN + 8) as u32;
    let area = SVGBackend::with_string(&mut picture, (size, size)).into_drawing_area();
    let style = |size: i32| {
        let style = TextStyle::from(("sans-serif", size));
        style.pos(Pos::new(HPos::Center, VPos::Center))
    };
    let classes = matrix.classes.max(1) as f64;
    let at = |index: f64| MARGIN + (f64::from(SIDE) * index / classes).round() as i32;
    let middle = |class: u16| at(f64::from(class) + 0.5);
    let edge = [(MARGIN, MARGIN), (MARGIN + SIDE, MARGIN + SIDE)];
    area.draw(&Rectangle::new(edge, BLACK.mix(0.3)))?;
    let centre = MARGIN + SIDE / 2;
    let title = matrix.title.as_str();
    area.draw(&Text::new(title, (centre, MARGIN / 3), style(16)))?;
    let with_numbers = matrix.classes <= MOST_WITH_NUMBERS;
    if with_numbers {
        for class in 0..matrix.classes as u16 {
            let name = class.to_string();
            let column = (middle(class), MARGIN - 8);
            area.draw(&Text::new(name.clone(), column, style(12)))?;
            area.draw(&Text::new(name, (MARGIN - 12, middle(class)), style(12)))?;
        }
    }
    for &(label, answer, images) in &matrix.counts {
        let share = images as f64 / matrix.images_of(label).max(1) as f64;
        let colour = COLOURS[usize::from(label != answer)];
        let (x, y) = (f64::from(answer), f64::from(label));
        let corners = [(at(x), at(y)), (at(x + 1.0), at(y + 1.0))];
        area.draw(&Rectangle::new(
            corners,
            colour.mix(0.1 + 0.7 * share).filled(),
        ))?;
        if with_numbers {
            let place = (middle(answer), middle(label));
            area.draw(&Text::new(images.to_string(), place, style(11)))?;
        }
    }
    area.present()?;
    drop(area);
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_a_cell() {
        let mut matrix = Matrix {
            title: "answers".into(),
            classes: 3,
            counts: vec![(0, 0, 41), (0, 2, 7), (2, 2, 13)],
        };
        let picture = figure(&matrix).unwrap();
        assert_eq!(picture.matches("<rect").count(), 4);
        for number in ["41", "7", "13", "answers"] {
            assert!(
                picture.contains(&format!("\n{number}\n")),
                "{number} in {picture}"
            );
        }
        assert_eq!(matrix.images_of(0), 48);
        matrix.classes = 100;
        assert!(!figure(&matrix).unwrap().contains("\n41\n"));
    }
}
