//! The distribution of the normalized entropy of the disagreement over the epochs.

use plotters::prelude::*;

use super::curves::COLOURS;

const SIZE: (u32, u32) = (480, 280);
/// Columns of the picture; more epochs than these are put together.
const COLUMNS: usize = 80;

/// Counts of `H'` in buckets of equal width between 0 and 1, for one epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct EntropyColumn {
    /// Counted from 1.
    pub epoch: usize,
    /// From the lowest bucket.
    pub counts: Vec<u64>,
}

/// A column per epoch, darker where more samples are, with the bounds as lines.
pub(super) fn figure(
    columns: &[EntropyColumn],
    bounds: [f64; 2],
) -> Result<String, Box<dyn std::error::Error>> {
    let columns = grouped(columns);
    let first = columns.first().map_or(0.0, |column| column.start);
    let last = columns.last().map_or(1.0, |column| column.end);
    let mut picture = String::new();
    let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .caption("H' of the generated samples", ("sans-serif", 16))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(first..last, 0.0..1.0)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc("epoch")
        .label_style(("sans-serif", 13))
        .draw()?;
    chart.draw_series(columns.iter().flat_map(Column::cells))?;
    for (bound, colour) in bounds.into_iter().zip([COLOURS[2], COLOURS[1]]) {
        let line = [(first, bound), (last, bound)];
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
    }
    area.present()?;
    drop(chart);
    drop(area);
    Ok(picture)
}

/// Some epochs in one column: the share of samples in every bucket.
struct Column {
    start: f64,
    end: f64,
    shares: Vec<f64>,
}

impl Column {
    fn cells(&self) -> Vec<Rectangle<(f64, f64)>> {
        let greatest = self.shares.iter().copied().fold(0.0, f64::max);
        let height = 1.0 / self.shares.len() as f64;
        let cell = |(index, &share): (usize, &f64)| {
            let bottom = index as f64 * height;
            let style = COLOURS[0].mix(share / greatest).filled();
            (share > 0.0)
                .then(|| Rectangle::new([(self.start, bottom), (self.end, bottom + height)], style))
        };
        self.shares.iter().enumerate().filter_map(cell).collect()
    }
}

fn grouped(columns: &[EntropyColumn]) -> Vec<Column> {
    let group = columns.len().div_ceil(COLUMNS).max(1);
    let column = |group: &[EntropyColumn]| {
        let buckets = group.first().map_or(0, |column| column.counts.len());
        let of_bucket = |bucket: usize| {
            let counts = group.iter().filter_map(|column| column.counts.get(bucket));
            counts.sum::<u64>() as f64
        };
        let counts: Vec<f64> = (0..buckets).map(of_bucket).collect();
        let total = counts.iter().sum::<f64>().max(1.0);
        let epochs = group.iter().map(|column| column.epoch);
        Column {
            start: epochs.clone().min().unwrap_or(0) as f64 - 1.0,
            end: epochs.max().unwrap_or(0) as f64,
            shares: counts.iter().map(|count| count / total).collect(),
        }
    };
    columns.chunks(group).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_put_together_and_shares_add_up() {
        let columns: Vec<_> = (1..=400)
            .map(|epoch| EntropyColumn {
                epoch,
                counts: vec![1, 0, 3],
            })
            .collect();
        let grouped = grouped(&columns);
        assert_eq!(grouped.len(), COLUMNS);
        assert_eq!((grouped[1].start, grouped[1].end), (5.0, 10.0));
        assert_eq!(grouped[1].shares, [0.25, 0.0, 0.75]);
        let picture = figure(&columns, [0.1, 0.8]).unwrap();
        // Two cells per column; the empty bucket has none.
        assert_eq!(picture.matches("<rect").count(), 2 * COLUMNS);
        assert!(figure(&[], [0.1, 0.8]).unwrap().contains("epoch"));
    }
}
