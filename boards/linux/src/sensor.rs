//! The sensor of a Linux board: a folder of images.

use std::io;
use std::path::{Path, PathBuf};

use image::imageops::{FilterType, crop_imm};
use image::{DynamicImage, ImageReader, Limits};
use lowbit_runtime::protocol::{SensorFault, SensorInput};
use lowbit_runtime::service::{Position, Sensor};

/// Sides before and after cropping, as `lowbit` reads `images:FOLDER,SIDE`.
const SCALED: u32 = 256;
const CROPPED: u32 = 224;
/// Images with larger sides are refused.
const LARGEST_SIDE: u32 = 1 << 15;

/// The images of a folder, in the order of their names.
#[derive(Debug)]
pub(crate) struct FolderSensor {
    paths: Vec<PathBuf>,
    position: Position,
}

impl FolderSensor {
    /// # Errors
    /// If the folder cannot be read.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let entries = fs_err::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| {
            let extension = path
                .extension()
                .map(|extension| extension.to_ascii_lowercase());
            extension
                .is_some_and(|found| ["png", "jpg", "jpeg"].iter().any(|known| found == *known))
        });
        paths.sort();
        Ok(Self {
            paths,
            position: Position::default(),
        })
    }
}

impl Sensor for FolderSensor {
    fn sense(
        &mut self,
        input: SensorInput,
        shape: [u16; 3],
        pixels: &mut [u8],
    ) -> Result<Option<u32>, SensorFault> {
        let (index, left) = self.position.advance(input, self.paths.len() as u32)?;
        let path = &self.paths[index as usize];
        let image = decode(path).map_err(|error| {
            eprintln!("lowbit-linux: `{}`: {error}", path.display());
            SensorFault::Device
        })?;
        let bytes = fit(&image, shape).filter(|bytes| bytes.len() == pixels.len());
        let expected = pixels.len() as u32;
        pixels.copy_from_slice(&bytes.ok_or(SensorFault::Size { expected })?);
        Ok(Some(left))
    }
}

fn decode(path: &Path) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::open(path)?.with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    reader.decode()
}

/// The middle of the image as rows, columns and channels of `shape`; `None` if it has neither one nor
/// three channels, is not square, or the image is far longer than wide.
fn fit(image: &DynamicImage, shape: [u16; 3]) -> Option<Vec<u8>> {
    let [rows, columns, channels] = shape.map(u32::from);
    let side = (rows == columns && rows > 0).then_some(rows)?;
    let shorter = u64::from(image.width().min(image.height()).max(1));
    let target = u64::from((side * SCALED).div_ceil(CROPPED));
    let scaled = |length: u32| (u64::from(length) * target / shorter) as u32;
    let (width, height) = (scaled(image.width()), scaled(image.height()));
    if width.max(height) > LARGEST_SIDE {
        return None;
    }
    let image = image.resize_exact(width, height, FilterType::Triangle);
    let (x, y) = ((width - side) / 2, (height - side) / 2);
    match channels {
        1 => Some(
            crop_imm(&image.to_luma8(), x, y, side, side)
                .to_image()
                .into_raw(),
        ),
        3 => Some(
            crop_imm(&image.to_rgb8(), x, y, side, side)
                .to_image()
                .into_raw(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_come_in_the_order_of_their_names_and_fit_the_model() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, value) in [("b.png", 200), ("a.png", 100)] {
            // 64 wide, 32 high; the left half is black.
            let picture = image::RgbImage::from_fn(64, 32, |x, _| {
                image::Rgb([if x < 32 { 0 } else { value }; 3])
            });
            picture.save(folder.path().join(name)).expect("is written");
        }
        fs_err::write(folder.path().join("notes.txt"), "x").expect("is written");
        fs_err::write(folder.path().join("c.png"), "no image").expect("is written");
        let mut sensor = FolderSensor::open(folder.path()).expect("opens");
        let mut pixels = [0; 28 * 28 * 3];
        let mut next = |input| {
            let left = sensor.sense(input, [28, 28, 3], &mut pixels)?;
            Ok((left, pixels[0], pixels[27 * 3]))
        };
        assert_eq!(next(SensorInput::First), Ok((Some(2), 0, 100)));
        assert_eq!(next(SensorInput::Next), Ok((Some(1), 0, 200)));
        assert_eq!(next(SensorInput::Same), Ok((Some(1), 0, 200)));
        assert_eq!(next(SensorInput::Next), Err(SensorFault::Device));
        assert_eq!(
            next(SensorInput::Next),
            Err(SensorFault::Ended { count: 3 })
        );
        let mut gray = [0; 28 * 28];
        let left = sensor.sense(SensorInput::First, [28, 28, 1], &mut gray);
        assert_eq!((left, gray[27]), (Ok(Some(2)), 100));
        let size = Err(SensorFault::Size { expected: 784 });
        assert_eq!(
            sensor.sense(SensorInput::First, [14, 56, 1], &mut gray),
            size
        );
    }
}
