//! Pictures of what the generator makes on the way.

use std::path::Path;

use lowbit_host::dfq::{self, Trainer};
use lowbit_host::report::{Grid, write_grid};

/// Classes in a picture, from 0.
const CLASSES: usize = 10;
/// Images of each class, below each other.
const PER_CLASS: usize = 2;
/// Pictures of a run, at least, if it has as many epochs; the first epoch has one as well.
const PICTURES: usize = 8;

/// Whether the generator is pictured after `epoch`, counted from 0.
pub(crate) fn is_due(epoch: usize, epochs: usize) -> bool {
    let done = |epoch: usize| epoch * PICTURES / epochs;
    epoch == 0 || done(epoch + 1) > done(epoch)
}

/// Writes the picture after `epoch`, counted from 0, into the run directory `run`.
pub(crate) fn write(run: &Path, epoch: usize, trainer: &Trainer) -> dfq::Result<()> {
    let graph = trainer.teacher();
    let classes = graph.classes.min(CLASSES);
    let images = trainer.sample_classes(classes, PER_CLASS)?;
    let [channels, height, width] = graph.input_shape;
    let folder = run.join("samples");
    fs_err::create_dir_all(&folder)?;
    let grid = Grid {
        shape: [height, width, channels],
        columns: classes,
        blocks: vec![images.iter().map(Vec::as_slice).collect()],
    };
    let path = folder.join(format!("epoch-{:04}.png", epoch + 1));
    write_grid(&path, &grid).map_err(|error| std::io::Error::other(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_epoch_are_pictured() {
        let due = |epochs| {
            (0..epochs)
                .filter(|&epoch| is_due(epoch, epochs))
                .collect::<Vec<_>>()
        };
        assert_eq!(due(1), [0]);
        assert_eq!(due(3), [0, 1, 2]);
        assert_eq!(due(16), [0, 1, 3, 5, 7, 9, 11, 13, 15]);
        assert_eq!(due(400).len(), 9);
        assert_eq!(due(400).last(), Some(&399));
    }
}
