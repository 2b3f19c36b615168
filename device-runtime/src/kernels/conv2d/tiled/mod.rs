//! Convolution in tiles of four positions by two output channels, for cores that pay for every
//! load.
//!
//! Columns of [`WIDTH`] output positions are computed from top to bottom, as many rows at a time as
//! scratch has room for. Each row of the input is packed once per column, as all columns of the
//! kernel see it, so that the patch of a tile is one run of words and the patch of the tile below
//! starts a fixed number of words later. The weights of two channels are unpacked once for all these
//! tiles. What is left for the innermost loop is two runs of words, multiplied and added.
//!
//! ```text
//!   scratch, per convolution
//!   | padding | patch sums | packed rows of the input             | weights of two channels |
//!                          | row 0 | row 1 | row 2 | row 3 | ... |
//!                          |<---- patch of tile 0 --->|
//!                                  |<---- patch of tile 1 --->|      (3x3, stride 1)
//! ```

mod depthwise;
mod duals;
mod finish;
mod lanes;
mod operand;

use super::{Addend, Epilogue, Source};
use crate::format::{Convolution, Kind, Residual, Storage, TensorSpec};
use crate::kernels::elements::{Elements, ElementsMut, ImageMut};
#[cfg(any(lowbit_armv6m, lowbit_riscv32m))]
pub(in crate::kernels) use finish::Added;
pub(in crate::kernels) use finish::Tile;
#[cfg(any(lowbit_armv7m, lowbit_armv6m, lowbit_riscv32m))]
pub(in crate::kernels) use finish::{ADDEND_LIFT, Channel, SUM_LIFT};
use finish::{CodesMut, Finish, Skipped, zero_point_fits};
use operand::{Form, Operand, Room};

/// Output positions of a tile, side by side in a row.
pub(in crate::kernels) const WIDTH: usize = 4;
/// Rows of a flattened output in place of one row.
const FLAT_ROWS: u32 = 3;
/// Output channels of a tile.
pub(in crate::kernels) const CHANNELS: usize = 2;

/// Accumulators of a tile, channel by channel.
pub(in crate::kernels) type Sums = [[i32; WIDTH]; CHANNELS];

/// Bytes of scratch with which a convolution computes `rows` rows of `output` at a time in tiles;
/// `None` for what has no such form.
pub(in crate::kernels) fn scratch_bytes(
    kind: &Kind,
    output: &TensorSpec,
    rows: u16,
) -> Option<u64> {
    if let Some(bytes) = depthwise::scratch_bytes(kind, output, rows) {
        return Some(bytes);
    }
    let Kind::Conv2d {
        convolution,
        residual,
        ..
    } = kind
    else {
        return None;
    };
    let Storage::Code8 { .. } = output.storage else {
        return None;
    };
    let rows = tile_rows(rows, convolution, residual, output);
    let room = |convolution| {
        let form = Form::of(convolution)?;
        Some(Room::new(convolution, form, rows.into()).words() as u64)
    };
    let projected = match residual {
        Residual::Projection { convolution, .. } => room(convolution)?,
        Residual::Identity { input, .. } if !matches!(input.storage, Storage::Code8 { .. }) => {
            return None;
        }
        Residual::None | Residual::Identity { .. } => 0,
    };
    Some(4 * (room(convolution)? + projected))
}

/// Rows of tiles for `rows` rows of the output. Once it is flattened, at least [`FLAT_ROWS`] times as many:
/// a tile of a single pixel is computed soon, and the weights have to be unpacked for every band.
fn tile_rows(
    rows: u16,
    convolution: &Convolution,
    residual: &Residual,
    output: &TensorSpec,
) -> u16 {
    let height = output.height.max(1);
    if !is_pointwise(convolution) || matches!(residual, Residual::Projection { .. }) {
        return rows.clamp(1, height);
    }
    let pixels = |rows: u16| u32::from(rows) * u32::from(output.width);
    let flat = |rows: u16| pixels(rows).div_ceil(WIDTH as u32);
    let most = flat(height);
    let rows = if rows < height {
        flat(rows).max(u32::from(rows) * FLAT_ROWS)
    } else {
        most
    };
    rows.clamp(1, most).min(u16::MAX.into()) as u16
}

/// Computes `output`, or returns `false` and does nothing if the operation has no such form, its biases
/// have no room for the output's zero point, or scratch has none for a single row.
pub(super) fn run(
    source: &Source<'_>,
    epilogue: &Epilogue<'_>,
    output: &mut ImageMut<'_>,
    scratch: &mut [u32],
) -> bool {
    if !zero_point_fits(epilogue, output) {
        return false;
    }
    let collects = epilogue.collector.is_some();
    if !collects && depthwise::run(source, epilogue, output, scratch) {
        return true;
    }
    let channels = output.channels;
    let (mut source, mut addend) = (*source, epilogue.addend);
    let [height, width] = flatten(&mut source, &mut addend, [output.height, output.width]);
    let epilogue = &Epilogue {
        addend,
        ..*epilogue
    };
    let ElementsMut::Code8 { codes, zero_point } = &mut output.elements else {
        return false;
    };
    let projected = match &epilogue.addend {
        Addend::Projection { source, .. } => Some(*source),
        Addend::Identity {
            input: Some(input), ..
        } if !matches!(input.elements, Elements::Code8 { .. }) => return false,
        Addend::None | Addend::Identity { .. } => None,
    };
    let Some(mut operands) = Operands::new(source, projected, height, scratch) else {
        return false;
    };
    let mut output = CodesMut {
        width,
        channels,
        zero_point: *zero_point,
        codes,
    };
    let skipped = Skipped::new(&epilogue.addend);
    let mut tile = Tile::default();
    for x in (0..width).step_by(WIDTH) {
        let mut y = 0;
        while y < height {
            let rows = operands.rows.min(height - y);
            let band = Band { y, rows, x };
            operands.pack(&band);
            run_band(
                &mut operands,
                (epilogue, &skipped),
                &band,
                &mut tile,
                &mut output,
            );
            y += rows;
        }
    }
    true
}

/// A convolution of pixels with themselves alone does not know rows: with as many columns as a tile
/// has, none of which is left empty but in the last row. Returns the output's rows and columns.
fn flatten<'a>(source: &mut Source<'a>, addend: &mut Addend<'a>, size: [usize; 2]) -> [usize; 2] {
    let skipped = match addend {
        Addend::None | Addend::Identity { input: None, .. } => None,
        Addend::Identity {
            input: Some(input),
            stride: 1,
            ..
        } => Some(input),
        Addend::Identity { .. } | Addend::Projection { .. } => return size,
    };
    let pixels = size[0] * size[1];
    if !is_pointwise(source.geometry) || size != [source.input.height, source.input.width] {
        return size;
    }
    let size = [pixels.div_ceil(WIDTH), WIDTH];
    for image in [Some(&mut source.input), skipped].into_iter().flatten() {
        [image.height, image.width] = size;
    }
    size
}

fn is_pointwise(convolution: &Convolution) -> bool {
    let kernel = [convolution.kernel_height, convolution.kernel_width];
    let stride = [convolution.stride_y, convolution.stride_x];
    kernel == [1; 2] && stride == [1; 2]
}

/// Output rows of a column of tiles that are computed together.
#[derive(Debug, Clone, Copy)]
struct Band {
    /// The first row.
    y: usize,
    /// How many there are.
    rows: usize,
    /// The first column of the tiles.
    x: usize,
}

fn run_band(
    operands: &mut Operands<'_>,
    (epilogue, skipped): (&Epilogue<'_>, &Skipped<'_>),
    band: &Band,
    tile: &mut Tile,
    output: &mut CodesMut<'_>,
) {
    for channel in (0..output.channels).step_by(CHANNELS) {
        operands.unpack(channel);
        let finish = Finish::new(epilogue, skipped, channel, &operands.main, output);
        #[cfg(lowbit_armv7m)]
        let done = match (&operands.projection, &epilogue.collector) {
            (None, None) => finish.band_on_core(&operands.main, band, output),
            _ => 0,
        };
        #[cfg(not(lowbit_armv7m))]
        let done = 0;
        let projection = operands.projection.as_ref();
        let projection = projection.map(|operand| (operand, operand.correction()));
        for row in done..band.rows {
            if let Some((projection, correction)) = &projection {
                projection.product(row, &mut tile.addends);
                correction.apply(&mut tile.addends, projection.patch_sums(row));
            }
            operands.main.product(row, &mut tile.sums);
            tile.patch_sums = operands.main.patch_sums(row);
            if let Some(collector) = &epilogue.collector {
                let mut accumulators = tile.sums;
                let correction = operands.main.correction();
                correction.apply(&mut accumulators, tile.patch_sums);
                finish.collect(&accumulators, [band.y + row, band.x], output, collector);
            }
            finish.tile(tile, [band.y + row, band.x], output);
        }
    }
}

/// The convolution and, with a projection, the second one.
struct Operands<'a> {
    main: Operand<'a>,
    projection: Option<Operand<'a>>,
    /// Output rows that scratch has room for.
    rows: usize,
}

impl<'a> Operands<'a> {
    fn new(
        main: Source<'a>,
        projection: Option<Source<'a>>,
        height: usize,
        scratch: &'a mut [u32],
    ) -> Option<Self> {
        let form = Form::suiting(&main)?;
        let projection = match projection {
            Some(source) => Some((source, Form::suiting(&source)?)),
            None => None,
        };
        let words = |rows| {
            let projected = projection.map_or(0, |(source, form)| {
                Room::new(source.geometry, form, rows).words()
            });
            Room::new(main.geometry, form, rows).words() + projected
        };
        // The need grows by the same amount from row to row.
        let (least, more) = (words(1), words(2) - words(1));
        let spare = scratch.len().checked_sub(least)?;
        let rows = spare
            .checked_div(more)
            .unwrap_or_default()
            .saturating_add(1);
        let rows = rows.min(height);
        let (main, scratch) = Operand::new(main, form, rows, scratch);
        let projection =
            projection.map(|(source, form)| Operand::new(source, form, rows, scratch).0);
        Some(Self {
            main,
            projection,
            rows,
        })
    }

    fn pack(&mut self, band: &Band) {
        self.main.pack(band);
        if let Some(projection) = &mut self.projection {
            projection.pack(band);
        }
    }

    fn unpack(&mut self, channel: usize) {
        self.main.unpack(channel);
        if let Some(projection) = &mut self.projection {
            projection.unpack(channel);
        }
    }
}
