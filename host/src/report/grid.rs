//! Images side by side.

use std::path::Path;

use image::{Rgba, RgbaImage};

use super::Error;

/// Between pictures, so that the page may be dark.
const TRANSPARENT_WHITE: Rgba<u8> = Rgba([255, 255, 255, 0]);
/// Empty pixels around each picture.
const GAP: u32 = 2;
/// Empty pixels between blocks.
const BLOCK_GAP: u32 = 12;
/// Each image pixel becomes a square of this side, as the images are small.
const ZOOM: u32 = 2;

/// Blocks of images, from left to right; each block is filled row by row.
#[derive(Debug, Clone)]
pub struct Grid<'a> {
    /// Height, width and channels (1 or 3) of every image.
    pub shape: [usize; 3],
    /// Images per row of a block.
    pub columns: usize,
    /// The images of each block, channels last.
    pub blocks: Vec<Vec<&'a [u8]>>,
}

/// Writes the grid as a PNG.
///
/// # Errors
/// When the file cannot be written.
pub fn write_grid(path: &Path, grid: &Grid<'_>) -> Result<(), Error> {
    let cell_width = ZOOM * grid.shape[1] as u32 + GAP;
    let cell_height = ZOOM * grid.shape[0] as u32 + GAP;
    let rows = grid
        .blocks
        .iter()
        .map(|block| block.len().div_ceil(grid.columns))
        .max();
    let block_width = cell_width * grid.columns as u32 + BLOCK_GAP;
    let width = block_width * grid.blocks.len() as u32 - BLOCK_GAP + GAP;
    let height = cell_height * rows.unwrap_or(0) as u32 + GAP;
    let mut picture = RgbaImage::from_pixel(width, height, TRANSPARENT_WHITE);
    for (block_index, block) in grid.blocks.iter().enumerate() {
        for (index, pixels) in block.iter().enumerate() {
            let column = (index % grid.columns) as u32;
            let row = (index / grid.columns) as u32;
            let left = GAP + block_index as u32 * block_width + column * cell_width;
            draw(
                &mut picture,
                left,
                GAP + row * cell_height,
                grid.shape,
                pixels,
            );
        }
    }
    picture
        .save(path)
        .map_err(|error| Error::picture(path, error))
}

fn draw(picture: &mut RgbaImage, left: u32, top: u32, shape: [usize; 3], pixels: &[u8]) {
    let [height, width, channels] = shape;
    for y in 0..height as u32 * ZOOM {
        for x in 0..width as u32 * ZOOM {
            let position = (y / ZOOM) as usize * width + (x / ZOOM) as usize;
            let pixel = &pixels[position * channels..][..channels];
            let [red, green, blue] = [0, 1, 2].map(|channel| pixel[channel.min(channels - 1)]);
            picture.put_pixel(left + x, top + y, Rgba([red, green, blue, 255]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_lands_in_its_cell() {
        let (red, grey) = ([255u8, 0, 0].repeat(4), [7u8, 7, 7].repeat(4));
        let grid = Grid {
            shape: [2, 2, 3],
            columns: 1,
            blocks: vec![vec![&red], vec![&red, &grey]],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        write_grid(&path, &grid).unwrap();
        let picture = image::open(&path).unwrap().to_rgb8();
        let second_block = GAP + 2 * ZOOM + GAP + BLOCK_GAP;
        assert_eq!(picture.get_pixel(GAP, GAP).0, [255, 0, 0]);
        assert_eq!(
            picture.get_pixel(second_block, GAP + 2 * ZOOM + GAP).0,
            [7, 7, 7]
        );
        assert_eq!(
            picture.get_pixel(GAP, GAP + 2 * ZOOM + GAP).0,
            [255, 255, 255]
        );
    }
}
