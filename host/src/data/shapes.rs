//! The built-in data set: ten outlines, turned, scaled and shifted, in any two colours, over a
//! shaded background with clutter, uneven light and sensor noise. 32 x 32 pixels, colour.
//!
//! Every image is a pure function of its split and index, so that two machines see the same data.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;

use super::Dataset;

/// Names of the classes, in the order of their labels.
pub const CLASSES: [&str; 10] = [
    "disc", "ring", "square", "triangle", "star", "cross", "crescent", "heart", "arrow", "bar",
];
/// Images of the test part.
pub const TEST_IMAGES: usize = 2_000;
/// Images of the training part.
pub const TRAIN_IMAGES: usize = 10_000;
/// Rows and columns.
pub const SIDE: usize = 32;

/// Samples per pixel along one axis, for smooth edges.
const SUPERSAMPLING: usize = 3;
type Colour = [f32; 3];

/// Which part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To train on.
    Train,
    /// To measure on.
    Test,
}

/// The first `count` images of a split; classes take turns.
#[must_use]
pub fn generate(split: Split, count: usize) -> Dataset {
    let images = (0..count)
        .into_par_iter()
        .map(|index| image(split, index))
        .collect::<Vec<_>>();
    Dataset {
        name: "shapes".to_owned(),
        shape: [SIDE, SIDE, 3],
        classes: CLASSES.len(),
        pixels: images.concat(),
        labels: (0..count)
            .map(|index| (index % CLASSES.len()) as u16)
            .collect(),
    }
}

fn image(split: Split, index: usize) -> Vec<u8> {
    let part = match split {
        Split::Train => 0x7a11,
        Split::Test => 0x7e57,
    };
    let mut rng = ChaCha8Rng::seed_from_u64((part << 32) | index as u64);
    let scene = Scene::random(index % CLASSES.len(), &mut rng);
    let noise = Normal::new(0.0, scene.noise).expect("the deviation is finite");
    let mut pixels = Vec::with_capacity(SIDE * SIDE * 3);
    for position in 0..SIDE * SIDE {
        let colour = scene.pixel(position % SIDE, position / SIDE);
        pixels.extend(colour.map(|value| {
            let seen = value + noise.sample(&mut rng);
            (seen.clamp(0.0, 1.0) * 255.0).round() as u8
        }));
    }
    pixels
}

/// Everything random about one image. Coordinates run from -1 to 1.
struct Scene {
    object: Placed,
    object_colour: Colour,
    background: [Colour; 2],
    background_direction: [f32; 2],
    clutter: Vec<(Placed, Colour)>,
    light_direction: [f32; 2],
    light: f32,
    noise: f32,
}

impl Scene {
    fn random(class: usize, rng: &mut ChaCha8Rng) -> Self {
        let background = [colour(rng), colour(rng)];
        let object_colour = contrasting_colour(&background, rng);
        let clutter = (0..rng.random_range(1..4))
            .map(|_| {
                let piece = if rng.random_bool(0.5) {
                    Outline::Stroke
                } else {
                    Outline::Blob
                };
                (Placed::random(piece, 0.08..0.20, 1.0, rng), colour(rng))
            })
            .collect();
        Self {
            object: Placed::random(Outline::CLASSES[class], 0.55..0.85, 0.15, rng),
            object_colour,
            background,
            background_direction: direction(rng),
            clutter,
            light_direction: direction(rng),
            light: rng.random_range(0.0..0.45),
            noise: rng.random_range(0.01..0.06),
        }
    }

    fn pixel(&self, column: usize, row: usize) -> Colour {
        let centre = coordinates(column as f32 + 0.5, row as f32 + 0.5);
        let mut colour = self.backdrop(centre);
        for (piece, piece_colour) in &self.clutter {
            colour = mix(colour, *piece_colour, 0.8 * coverage(piece, column, row));
        }
        colour = mix(
            colour,
            self.object_colour,
            coverage(&self.object, column, row),
        );
        let light = 1.0 + self.light * dot(centre, self.light_direction);
        colour.map(|value| value * light)
    }

    fn backdrop(&self, point: [f32; 2]) -> Colour {
        let along = 0.5 + 0.5 * dot(point, self.background_direction);
        mix(
            self.background[0],
            self.background[1],
            along.clamp(0.0, 1.0),
        )
    }
}

/// Share of a pixel that the outline covers.
fn coverage(placed: &Placed, column: usize, row: usize) -> f32 {
    let step = 1.0 / SUPERSAMPLING as f32;
    let offset = |index: usize| (index as f32 + 0.5) * step;
    let inside = (0..SUPERSAMPLING * SUPERSAMPLING)
        .filter(|index| {
            let x = column as f32 + offset(index % SUPERSAMPLING);
            let y = row as f32 + offset(index / SUPERSAMPLING);
            placed.contains(coordinates(x, y))
        })
        .count();
    inside as f32 / (SUPERSAMPLING * SUPERSAMPLING) as f32
}

/// An outline with its place, size and rotation.
struct Placed {
    outline: Outline,
    centre: [f32; 2],
    radius: f32,
    rotation: [f32; 2],
}

impl Placed {
    fn random(
        outline: Outline,
        radius: std::ops::Range<f32>,
        spread: f32,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        Self {
            outline,
            centre: [
                rng.random_range(-spread..spread),
                rng.random_range(-spread..spread),
            ],
            radius: rng.random_range(radius),
            rotation: direction(rng),
        }
    }

    fn contains(&self, point: [f32; 2]) -> bool {
        let [x, y] = [0, 1].map(|axis| (point[axis] - self.centre[axis]) / self.radius);
        let [cos, sin] = self.rotation;
        self.outline.contains(cos * x + sin * y, cos * y - sin * x)
    }
}

/// A figure within the unit circle.
#[derive(Debug, Clone, Copy)]
enum Outline {
    Disc,
    Ring,
    Square,
    Triangle,
    Star,
    Cross,
    Crescent,
    Heart,
    Arrow,
    Bar,
    /// Clutter: a thin line.
    Stroke,
    /// Clutter: an ellipse.
    Blob,
}

impl Outline {
    const CLASSES: [Self; 10] = [
        Self::Disc,
        Self::Ring,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Cross,
        Self::Crescent,
        Self::Heart,
        Self::Arrow,
        Self::Bar,
    ];

    fn contains(self, x: f32, y: f32) -> bool {
        let radius = x.hypot(y);
        match self {
            Self::Disc => radius < 0.85,
            Self::Ring => (0.5..0.95).contains(&radius),
            Self::Square => x.abs().max(y.abs()) < 0.75,
            Self::Triangle => in_regular_polygon(x, y, 3.0),
            Self::Star => in_star(x, y),
            Self::Cross => x.abs().min(y.abs()) < 0.28 && x.abs().max(y.abs()) < 0.95,
            Self::Crescent => radius < 0.95 && (x - 0.45).hypot(y) > 0.72,
            Self::Heart => in_heart(x, y),
            Self::Arrow => in_arrow(x, y),
            Self::Bar => x.abs() < 0.98 && y.abs() < 0.28,
            Self::Stroke => x.abs() < 2.5 && y.abs() < 0.2,
            Self::Blob => x.hypot(1.6 * y) < 1.0,
        }
    }
}

fn in_regular_polygon(x: f32, y: f32, sides: f32) -> bool {
    let sector = std::f32::consts::TAU / sides;
    let angle = y.atan2(x).rem_euclid(sector) - sector / 2.0;
    x.hypot(y) * angle.cos() < (sector / 2.0).cos()
}

/// Five points, the inner corners at 0.42 of the radius.
fn in_star(x: f32, y: f32) -> bool {
    let sector = std::f32::consts::TAU / 5.0;
    let angle = (y.atan2(x).rem_euclid(sector) - sector / 2.0).abs();
    let (radius, inner) = (x.hypot(y), 0.42);
    // The edge runs from the inner corner (angle 0) to the tip (half a sector away).
    let (tip_x, tip_y) = ((sector / 2.0).cos(), (sector / 2.0).sin());
    let (point_x, point_y) = (radius * angle.cos(), radius * angle.sin());
    (tip_x - inner) * point_y - tip_y * (point_x - inner) > 0.0
}

fn in_heart(x: f32, y: f32) -> bool {
    let (x, y) = (1.25 * x, 1.25 * y + 0.15);
    let body = x * x + y * y - 1.0;
    body.powi(3) - x * x * y.powi(3) < 0.0
}

fn in_arrow(x: f32, y: f32) -> bool {
    let shaft = (-0.95..0.2).contains(&x) && y.abs() < 0.2;
    let head = (0.1..0.95).contains(&x) && y.abs() < 0.75 * (0.95 - x) / 0.85;
    shaft || head
}

fn coordinates(x: f32, y: f32) -> [f32; 2] {
    [x, y].map(|value| 2.0 * value / SIDE as f32 - 1.0)
}

fn direction(rng: &mut ChaCha8Rng) -> [f32; 2] {
    let angle = rng.random_range(0.0..std::f32::consts::TAU);
    [angle.cos(), angle.sin()]
}

fn colour(rng: &mut ChaCha8Rng) -> Colour {
    std::array::from_fn(|_| rng.random_range(0.05..0.95))
}

/// A colour that can be told from both ends of the background.
fn contrasting_colour(background: &[Colour; 2], rng: &mut ChaCha8Rng) -> Colour {
    let distance = |a: &Colour, b: &Colour| {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).powi(2))
            .sum::<f32>()
            .sqrt()
    };
    loop {
        let candidate = colour(rng);
        if background
            .iter()
            .all(|end| distance(end, &candidate) > 0.45)
        {
            return candidate;
        }
    }
}

fn mix(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| from[channel] + share * (to[channel] - from[channel]))
}

fn dot(a: [f32; 2], b: [f32; 2]) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_depend_on_split_and_index_only() {
        let (short, long) = (generate(Split::Test, 20), generate(Split::Test, 40));
        assert_eq!(short.image(13), long.image(13));
        assert_ne!(short.image(13), generate(Split::Train, 20).image(13));
        assert_ne!(short.image(3), short.image(13));
    }

    #[test]
    fn outlines_cover_what_their_formulas_say() {
        assert!(Outline::Star.contains(0.0, 0.0) && Outline::Star.contains(0.97, 0.0));
        assert!(!Outline::Star.contains(0.7, 0.45));
        assert!(Outline::Heart.contains(0.0, 0.0) && !Outline::Heart.contains(0.0, 0.95));
        assert!(Outline::Ring.contains(0.7, 0.0) && !Outline::Ring.contains(0.0, 0.0));
        assert!(Outline::Triangle.contains(0.9, 0.0) && !Outline::Triangle.contains(-0.9, 0.0));
    }

    #[test]
    fn every_outline_fills_a_visible_part_of_the_unit_circle() {
        for outline in Outline::CLASSES {
            let cells = 100;
            let at = |index: usize| 2.0 * (index as f32 + 0.5) / cells as f32 - 1.0;
            let inside = (0..cells * cells)
                .filter(|index| outline.contains(at(index % cells), at(index / cells)))
                .count();
            let share = inside as f32 / (cells * cells) as f32;
            assert!((0.15..0.65).contains(&share), "{outline:?} covers {share}");
        }
    }
}
