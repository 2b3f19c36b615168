//! Curves over the iterations of a run.

use std::path::Path;

use plotters::prelude::*;

use super::Error;

const PANEL_SIZE: (u32, u32) = (640, 300);

/// A line of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What the legend says.
    pub label: String,
    /// Iteration or epoch, and value.
    pub points: Vec<(f64, f64)>,
}

/// Curves that share their axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Title above the axes.
    pub title: String,
    /// What the horizontal axis counts.
    pub x_label: String,
    /// The curves.
    pub curves: Vec<Curve>,
}

/// Writes the panels below each other as one SVG. Values that are not finite are left out.
///
/// # Errors
/// When the file cannot be written.
pub fn write_curves(path: &Path, panels: &[Panel]) -> Result<(), Error> {
    let mut picture = String::new();
    let size = (PANEL_SIZE.0, PANEL_SIZE.1 * panels.len().max(1) as u32);
    draw(&mut picture, size, panels).map_err(|error| Error::picture(path, error))?;
    fs_err::write(path, picture).map_err(|error| Error::picture(path, error))
}

fn draw(
    picture: &mut String,
    size: (u32, u32),
    panels: &[Panel],
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(picture, size).into_drawing_area();
    area.fill(&WHITE)?;
    for (part, panel) in area
        .split_evenly((panels.len().max(1), 1))
        .iter()
        .zip(panels)
    {
        let finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
        let points = panel
            .curves
            .iter()
            .flat_map(|curve| curve.points.iter().filter(finite));
        let (x_range, y_range) = ranges(points);
        let mut chart = ChartBuilder::on(part)
            .caption(&panel.title, ("sans-serif", 16))
            .margin(8)
            .margin_right(24)
            .x_label_area_size(32)
            .y_label_area_size(56)
            .build_cartesian_2d(x_range, y_range)?;
        chart
            .configure_mesh()
            .x_desc(&panel.x_label)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (index, curve) in panel.curves.iter().enumerate() {
            let colour = Palette99::pick(index).to_rgba();
            let line = curve.points.iter().filter(finite).copied();
            chart
                .draw_series(LineSeries::new(line, colour))?
                .label(&curve.label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    area.present()?;
    drop(area);
    Ok(())
}

type Range = std::ops::Range<f64>;

/// The smallest box around the points, with some room above and below.
fn ranges<'a>(points: impl Iterator<Item = &'a (f64, f64)>) -> (Range, Range) {
    let empty = (f64::INFINITY, f64::NEG_INFINITY);
    let (x, y) = points.fold((empty, empty), |(x, y), point| {
        (
            (x.0.min(point.0), x.1.max(point.0)),
            (y.0.min(point.1), y.1.max(point.1)),
        )
    });
    let (x, y) = if x.0 > x.1 {
        ((0.0, 1.0), (0.0, 1.0))
    } else {
        (x, y)
    };
    let room = ((y.1 - y.0) * 0.05).max(1e-6);
    (x.0..x.1.max(x.0 + 1e-6), y.0 - room..y.1 + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(curves: Vec<Curve>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        let panel = Panel {
            title: "accuracy".into(),
            x_label: "epoch".into(),
            curves,
        };
        write_curves(&path, &[panel.clone(), panel]).unwrap();
        fs_err::read_to_string(path).unwrap()
    }

    #[test]
    fn titles_legends_and_lines_are_drawn() {
        let points = vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)];
        let picture = written(vec![Curve {
            label: "loss of G".into(),
            points,
        }]);
        assert_eq!(picture.matches("accuracy").count(), 2);
        assert!(picture.contains("loss of G") && picture.contains("<polyline"));
        assert!(!picture.contains("NaN"));
    }

    #[test]
    fn nothing_to_draw_is_no_error() {
        assert!(written(vec![]).contains("epoch"));
        assert!(
            written(vec![Curve {
                label: "one".into(),
                points: vec![(1.0, 1.0)]
            }])
            .contains("one")
        );
    }
}
