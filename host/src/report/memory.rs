//! The arena over the operations.

use std::path::Path;

use plotters::prelude::*;

use super::Error;
use crate::summary::{Block, Content, MemoryPlan};

const STEP_WIDTH: u32 = 36;
const MARGINS: u32 = 120;
const HEIGHT: u32 = 480;

/// Writes a picture of the plan as SVG: operations from left to right, the arena from below. A
/// rectangle is a part of the arena for as long as it is needed.
///
/// # Errors
/// When the file cannot be written.
pub fn write_memory(path: &Path, plan: &MemoryPlan) -> Result<(), Error> {
    let picture = draw(plan, true).map_err(|error| Error::picture(path, error))?;
    fs_err::write(path, picture).map_err(|error| Error::picture(path, error))
}

/// The picture to be put into a page, on a transparent ground.
pub(super) fn figure(plan: &MemoryPlan) -> Result<String, Box<dyn std::error::Error>> {
    draw(plan, false)
}

fn draw(plan: &MemoryPlan, on_white: bool) -> Result<String, Box<dyn std::error::Error>> {
    let mut picture = String::new();
    let size = (MARGINS + STEP_WIDTH * plan.steps.max(8) as u32, HEIGHT);
    let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
    if on_white {
        area.fill(&WHITE)?;
    }
    let caption = format!(
        "arena {} bytes, peak {} bytes in {}",
        plan.arena_bytes, plan.peak_bytes, plan.peak_layer
    );
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 16))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0f64..plan.steps as f64, 0f64..f64::from(plan.arena_bytes))?;
    chart
        .configure_mesh()
        .x_desc("operation")
        .y_desc("byte of the arena")
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|byte| format!("{byte:.0}"))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let peak = plan.peak_step as f64;
    let column = [(peak, 0.0), (peak + 1.0, f64::from(plan.arena_bytes))];
    chart.draw_series([Rectangle::new(column, RED.mix(0.15).filled())])?;
    for (content, name) in [
        (Content::Tensor, "tensor"),
        (Content::Scratch, "scratch"),
        (Content::Pixels, "pixels"),
    ] {
        let blocks = plan.blocks.iter().filter(|block| block.content == content);
        let colour = colour(content);
        let rectangles = blocks.flat_map(|block| {
            let corners = corners(block);
            [
                Rectangle::new(corners, colour.mix(0.6).filled()),
                Rectangle::new(corners, BLACK.stroke_width(1)),
            ]
        });
        chart
            .draw_series(rectangles)?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    let labels = plan
        .blocks
        .iter()
        .filter(|block| block.content == Content::Tensor);
    chart.draw_series(labels.map(|block| {
        let [(left, bottom), _] = corners(block);
        Text::new(
            block.layer.clone(),
            (left + 0.05, bottom),
            ("sans-serif", 9),
        )
    }))?;
    let ground = if on_white {
        WHITE.mix(0.8)
    } else {
        TRANSPARENT
    };
    chart
        .configure_series_labels()
        .background_style(ground)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(picture)
}

fn colour(content: Content) -> RGBColor {
    match content {
        Content::Tensor => RGBColor(86, 180, 233),
        Content::Scratch => RGBColor(230, 159, 0),
        Content::Pixels => RGBColor(0, 158, 115),
    }
}

/// Lower left and upper right.
fn corners(block: &Block) -> [(f64, f64); 2] {
    let bottom = f64::from(block.offset);
    [
        (block.first_step as f64, bottom),
        (block.last_step as f64 + 1.0, bottom + block.bytes as f64),
    ]
}

#[cfg(test)]
mod tests {
    use lowbit_runtime::format::Model;
    use lowbit_runtime::testing::tiny_model;

    use super::*;
    use crate::summary;

    #[test]
    fn every_block_is_drawn_with_its_layer() {
        let file = tiny_model(0, 1);
        let model = Model::new_checked(&file).expect("is a model");
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = folder.path().join("memory.svg");
        write_memory(&path, &summary::memory(&model)).expect("written");
        let picture = fs_err::read_to_string(path).expect("is there");
        assert!(picture.contains("arena") && picture.contains("peak 16 bytes"));
        for name in ["input", "output", "tensor", "scratch", "pixels"] {
            assert!(picture.contains(name), "{name}");
        }
    }
}
