//! A folder of images for each class, as ImageNet's are laid out.

use std::path::Path;

use image::imageops::{FilterType, crop_imm};
use image::{ImageReader, Limits};

use super::classes::{classes, files_in_turn, has_extension};
use super::{Dataset, Error};

/// Sides before and after cropping, as networks for ImageNet are evaluated: the shorter side is
/// scaled to 256, the middle 224 x 224 pixels are taken.
const SCALED: u32 = 256;
const CROPPED: u32 = 224;
/// Side that images get where nothing else is asked for.
pub(super) const DEFAULT_SIDE: u32 = CROPPED;
/// Images with larger sides are refused.
const LARGEST_SIDE: u32 = 1 << 15;

/// Images of `side` x `side` pixels, class by class in turn, at most `limit` of them. Classes are
/// the folders in the order of their names.
pub(super) fn load(folder: &Path, side: u32, limit: Option<usize>) -> Result<Dataset, Error> {
    let classes = classes(folder)?;
    let files = files_in_turn(&classes, is_image, limit)?;
    if files.is_empty() && limit != Some(0) {
        return Err(Error::NoImages(folder.to_owned()));
    }
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (class, path) in files {
        pixels.extend(read(&path, side)?);
        labels.push(class);
    }
    Ok(Dataset {
        name: "images".to_owned(),
        shape: [side as usize, side as usize, 3],
        classes: classes.len(),
        pixels,
        labels,
    })
}

fn read(path: &Path, side: u32) -> Result<Vec<u8>, Error> {
    let wrong = |error: image::ImageError| Error::Image {
        path: path.to_owned(),
        what: error.to_string(),
    };
    let mut reader = ImageReader::open(path)?.with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    let image = reader.decode().map_err(wrong)?;
    let shorter = image.width().min(image.height()).max(1);
    let target = (side * SCALED).div_ceil(CROPPED);
    let scaled = |length: u32| (u64::from(length) * u64::from(target) / u64::from(shorter)) as u32;
    let (width, height) = (scaled(image.width()), scaled(image.height()));
    if width.max(height) > LARGEST_SIDE {
        return Err(Error::Image {
            path: path.to_owned(),
            what: format!(
                "its sides {} and {} differ too much",
                image.width(),
                image.height()
            ),
        });
    }
    let image = image
        .resize_exact(width, height, FilterType::Triangle)
        .to_rgb8();
    let (x, y) = ((width - side) / 2, (height - side) / 2);
    Ok(crop_imm(&image, x, y, side, side).to_image().into_raw())
}

fn is_image(path: &Path) -> bool {
    has_extension(path, &["png", "jpg", "jpeg"])
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    #[test]
    fn classes_take_turns_and_the_middle_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for (class, images) in [("b", 2), ("a", 1)] {
            fs_err::create_dir(folder.path().join(class)).unwrap();
            for image in 0..images {
                // 64 wide, 32 high; the left half is black.
                let value = 100 + image as u8;
                let picture = RgbImage::from_fn(64, 32, |x, _| {
                    image::Rgb([if x < 32 { 0 } else { value }; 3])
                });
                let name = format!("{class}/{image}.png");
                picture.save(folder.path().join(name)).unwrap();
            }
        }
        fs_err::write(folder.path().join("a/notes.txt"), "x").unwrap();
        let data = load(folder.path(), 28, None).unwrap();
        assert_eq!((data.shape, data.classes), ([28, 28, 3], 2));
        assert_eq!(data.labels, [0, 1, 1]);
        let row = &data.image(2)[..28 * 3];
        assert_eq!((row[0], row[27 * 3]), (0, 101));
        assert_eq!(load(folder.path(), 28, Some(2)).unwrap().len(), 2);
        fs_err::write(folder.path().join("a/0.png"), "no image").unwrap();
        let error = load(folder.path(), 28, None).unwrap_err().to_string();
        assert!(error.contains("0.png"), "{error}");
    }

    #[test]
    fn folders_without_images_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            load(folder.path(), 28, None),
            Err(Error::NoImages(_))
        ));
        assert!(load(&folder.path().join("none"), 28, None).is_err());
    }
}
