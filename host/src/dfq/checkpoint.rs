//! Checkpoints: everything that the rest of a run depends on, as tensors and notes.
//!
//! | entry | |
//! |---|---|
//! | `generator/NAME`, `student/NAME` | parameters |
//! | `first moment/NAME`, `second moment/NAME` | Adam's, of the generator |
//! | `velocity/NAME` | the student's momentum; absent before its first step |
//! | `ranges` | one row per activation quantizer |
//! | `losses` | sums of the epoch under way |
//! | `entropies` | counts of the same |
//! | notes | `epoch`, `iteration`, `seconds`, `adam steps`, `random position` |
//!
//! A refinement to come or under way adds entries of its own.

use std::str::FromStr;

use candle_core::{Device, Tensor};

use super::{
    Error, Losses, Result, Trainer,
    entropies::{BUCKETS, EntropyHistogram},
    files::Archive,
    parameter_key,
    refinement::{ImagePool, Refinement},
};
use crate::graph::Operators;

impl Trainer {
    /// Everything that the rest of the run depends on, beside the teacher and the settings.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn archive(&self) -> Result<Archive> {
        if self.placement().operators != Operators::Tuned {
            return self.on_host()?.archive();
        }
        let mut archive = Archive::default();
        let generator = self.generator.parameters();
        for ((name, tensor), (first, second)) in generator
            .into_iter()
            .zip(self.adam.first.iter().zip(&self.adam.second))
        {
            archive.insert_values(format!("first moment/{name}"), first)?;
            archive.insert_values(format!("second moment/{name}"), second)?;
            archive.insert(format!("generator/{name}"), tensor);
        }
        let student = self.student.trained();
        for (id, tensor) in student.parameters() {
            archive.insert(format!("student/{}", parameter_key(student, id)), tensor);
        }
        for ((id, _), velocity) in student
            .parameters()
            .into_iter()
            .zip(&self.nesterov.velocity)
        {
            archive.insert_values(format!("velocity/{}", parameter_key(student, id)), velocity)?;
        }
        let ranges: Vec<Vec<f64>> = self
            .student
            .observers()
            .map(|observer| observer.state().to_vec())
            .collect();
        archive.insert("ranges".to_owned(), &Tensor::new(ranges, &Device::Cpu)?);
        let losses = Tensor::new(&self.progress.losses.to_array(), &Device::Cpu)?;
        archive.insert("losses".to_owned(), &losses);
        let entropies = self.progress.entropies.counts().map(|count| count as i64);
        archive.insert(
            "entropies".to_owned(),
            &Tensor::new(&entropies, &Device::Cpu)?,
        );
        archive.note("seconds", self.progress.seconds);
        archive.note("epoch", self.progress.epoch);
        archive.note("iteration", self.progress.iteration);
        archive.note("adam steps", self.adam.steps);
        archive.note("random position", self.random.position());
        match &self.refinement {
            Some(refinement) => refinement.archive(&mut archive)?,
            None => self.pool.archive(&mut archive)?,
        }
        Ok(archive)
    }

    /// Goes on from what [`Trainer::archive`] gave for the same teacher and settings, wherever that
    /// was computed.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] names an entry that is missing or has another shape.
    pub fn restore(mut self, archive: &Archive) -> Result<Self> {
        let placement = self.placement().clone();
        if placement.operators != Operators::Tuned {
            return self.on_host()?.restore(archive)?.placed(&placement);
        }
        let names: Vec<String> = self
            .generator
            .parameters()
            .into_iter()
            .map(|(n, _)| n)
            .collect();
        for (index, (name, tensor)) in names
            .iter()
            .zip(self.generator.parameters_mut())
            .enumerate()
        {
            let size = tensor.elem_count();
            self.adam.first[index] = archive.values(&format!("first moment/{name}"), size)?;
            self.adam.second[index] = archive.values(&format!("second moment/{name}"), size)?;
            *tensor = archive.like(&format!("generator/{name}"), tensor)?;
        }
        self.restore_student(archive)?;

        let ranges = archive.get("ranges")?.to_vec2::<f64>()?;
        let expected = self.student.observers().count();
        if ranges.len() != expected || ranges.iter().any(|row| row.len() != 3) {
            return Err(unexpected(
                "ranges",
                format!("{expected} rows of 3 numbers"),
            ));
        }
        for (observer, row) in self.student.observers_mut().zip(ranges) {
            observer.set_state([row[0], row[1], row[2]]);
        }
        let losses = archive.get("losses")?.to_vec1::<f64>()?;
        let losses = losses
            .try_into()
            .map_err(|_| unexpected("losses", "5 numbers".to_owned()))?;
        self.progress.losses = Losses::from_array(losses);
        let entropies = archive.get("entropies")?.to_vec1::<i64>()?;
        let entropies: [i64; BUCKETS] = entropies
            .try_into()
            .map_err(|_| unexpected("entropies", format!("{BUCKETS} numbers")))?;
        let entropies = entropies.map(i64::unsigned_abs);
        self.progress.entropies = EntropyHistogram::from_counts(entropies);
        self.progress.seconds = archive.number("seconds")?;
        self.progress.epoch = archive.number("epoch")?;
        self.progress.iteration = archive.number("iteration")?;
        self.adam.steps = archive.number("adam steps")?;
        self.random = self.random.at(archive.number("random position")?);
        self.restore_refinement(archive)?;
        Ok(self)
    }

    /// Comes last: a refinement starts from the teacher and its pool.
    fn restore_refinement(&mut self, archive: &Archive) -> Result<()> {
        let parameters = self.teacher.graph().parameters();
        let device = parameters.first().map_or(&Device::Cpu, |(_, p)| p.device());
        self.pool = ImagePool::restored(archive, device)?;
        if Refinement::is_in(archive) {
            self.refinement = Some(self.start_refinement()?.restore(archive)?);
        }
        Ok(())
    }

    fn restore_student(&mut self, archive: &Archive) -> Result<()> {
        let student = self.student.trained();
        let keys = student
            .parameters()
            .into_iter()
            .map(|(id, tensor)| (parameter_key(student, id), tensor.elem_count()));
        let keys: Vec<(String, usize)> = keys.collect();
        if keys
            .iter()
            .any(|(key, _)| archive.tensors.contains_key(&format!("velocity/{key}")))
        {
            let velocity = keys.iter();
            let velocity =
                velocity.map(|(key, size)| archive.values(&format!("velocity/{key}"), *size));
            self.nesterov.velocity = velocity.collect::<Result<_>>()?;
        }
        self.student.update(|parameters| {
            for (parameter, (key, _)) in parameters.iter_mut().zip(&keys) {
                **parameter = archive.like(&format!("student/{key}"), parameter)?;
            }
            Ok(())
        })
    }
}

impl Archive {
    pub(super) fn insert(&mut self, name: String, tensor: &Tensor) {
        self.tensors.insert(name, tensor.clone());
    }

    pub(super) fn insert_values(&mut self, name: String, values: &[f32]) -> Result<()> {
        self.insert(name, &Tensor::new(values, &Device::Cpu)?);
        Ok(())
    }

    pub(super) fn note(&mut self, name: &str, value: impl ToString) {
        self.notes.insert(name.to_owned(), value.to_string());
    }

    pub(super) fn get(&self, name: &str) -> Result<&Tensor> {
        let tensor = self.tensors.get(name);
        tensor.ok_or_else(|| unexpected(name, "a tensor".to_owned()))
    }

    pub(super) fn like(&self, name: &str, other: &Tensor) -> Result<Tensor> {
        let tensor = self.get(name)?;
        if tensor.dims() == other.dims() && tensor.dtype() == other.dtype() {
            return Ok(tensor.clone());
        }
        let expected = format!("{} of shape {:?}", other.dtype().as_str(), other.dims());
        Err(unexpected(name, expected))
    }

    pub(super) fn values(&self, name: &str, size: usize) -> Result<Vec<f32>> {
        let tensor = self.get(name)?;
        if tensor.elem_count() != size {
            return Err(unexpected(name, format!("{size} numbers")));
        }
        Ok(tensor.to_vec1()?)
    }

    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<T> {
        let note = self.notes.get(name).and_then(|text| text.parse().ok());
        note.ok_or_else(|| unexpected(name, "a whole number".to_owned()))
    }
}

fn unexpected(name: &str, expected: String) -> Error {
    Error::Checkpoint {
        name: name.to_owned(),
        expected,
    }
}
