//! Curves over the iterations of a run.

use std::path::Path;

use plotters::prelude::*;

use super::Error;

const PANEL_SIZE: (u32, u32) = (640, 300);
/// Small enough that text stays readable on a telephone.
const FIGURE_SIZE: (u32, u32) = (480, 280);
const FIGURE_POINTS: usize = 300;
/// They can be seen on white and on black.
pub(super) const COLOURS: [RGBColor; 5] = [
    RGBColor(0x3b, 0x82, 0xf6),
    RGBColor(0xea, 0x7a, 0x1e),
    RGBColor(0x16, 0xa3, 0x4a),
    RGBColor(0xa8, 0x55, 0xf7),
    RGBColor(0xdb, 0x27, 0x77),
];

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
    let parts = area.split_evenly((panels.len().max(1), 1));
    for (part, panel) in parts.iter().zip(panels) {
        draw_panel(part, panel)?;
    }
    area.present()?;
    drop(parts);
    drop(area);
    Ok(())
}

/// One panel as an SVG to be put into a page, on a transparent ground and of few points.
///
/// # Errors
/// When it cannot be drawn.
pub(super) fn figure(panel: &Panel) -> Result<String, Box<dyn std::error::Error>> {
    let mut panel = panel.clone();
    for curve in &mut panel.curves {
        curve.points = thinned(&curve.points);
    }
    let mut picture = String::new();
    let area = SVGBackend::with_string(&mut picture, FIGURE_SIZE).into_drawing_area();
    draw_panel(&area, &panel)?;
    area.present()?;
    drop(area);
    Ok(picture)
}

/// The means of as many neighbours as leave [`FIGURE_POINTS`] points.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite = |point: &(f64, f64)| point.0.is_finite() && point.1.is_finite();
    let points: Vec<_> = points.iter().copied().filter(finite).collect();
    let mean = |points: &[(f64, f64)]| {
        let count = points.len() as f64;
        let sum = points
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    };
    let group = points.len().div_ceil(FIGURE_POINTS).max(1);
    points.chunks(group).map(mean).collect()
}

fn draw_panel(
    part: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    panel: &Panel,
) -> Result<(), Box<dyn std::error::Error>> {
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
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(x_range, y_range)?;
    chart
        .configure_mesh()
        .x_desc(&panel.x_label)
        .label_style(("sans-serif", 13))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (index, curve) in panel.curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let line = curve.points.iter().filter(finite).copied();
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(&curve.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 13))
        .background_style(TRANSPARENT)
        .border_style(TRANSPARENT)
        .draw()?;
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
    fn long_curves_are_thinned_to_means() {
        let points: Vec<_> = (0..3000)
            .map(|x| (f64::from(x), f64::from(x % 2)))
            .collect();
        let thinned = thinned(&points);
        assert_eq!(thinned.len(), FIGURE_POINTS);
        assert_eq!(thinned[0], (4.5, 0.5));
        let panel = Panel {
            title: "loss".into(),
            x_label: "iteration".into(),
            curves: vec![Curve {
                label: "L".into(),
                points,
            }],
        };
        let picture = figure(&panel).unwrap();
        assert!(picture.len() < 20_000, "{} bytes", picture.len());
        // No ground of its own: the page may be dark.
        assert!(!picture.contains("#FFFFFF"));
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
