//! The refinement's part of a checkpoint.
//!
//! | entry | |
//! |---|---|
//! | `refined/NAME` | parameters of the student |
//! | `weight step/NODE`, `activation step/NODE` | logarithms of the quantizers' steps |
//! | `lowest code/NODE` | of a weight's quantizers |
//! | `refined KIND/first moment/I`, `second moment/I` | Adam's of all three kinds, in their order |
//! | `pool` | images, in half precision; also before the refinement |
//! | notes | `refinement steps`, `refinement random position` |

use std::collections::BTreeMap;

use super::{Refinement, learned_range::LearnedRanges};
use crate::{
    dfq::{Result, files::Archive, optimizer::Adam, parameter_key},
    graph::{Graph, NodeId},
};

const STEPS: &str = "refinement steps";
const POSITION: &str = "refinement random position";

impl Refinement {
    /// Whether `archive` holds a refinement under way.
    pub(in crate::dfq) fn is_in(archive: &Archive) -> bool {
        archive.notes.contains_key(STEPS)
    }

    /// Adds everything that the rest of the refinement depends on, its pool included.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub(in crate::dfq) fn archive(&self, archive: &mut Archive) -> Result<()> {
        let graph = &self.student.trained;
        for (id, tensor) in graph.parameters() {
            archive.insert(format!("refined/{}", parameter_key(graph, id)), tensor);
        }
        for (node, ranges) in &self.student.weight_ranges {
            let name = &graph.nodes[node.0].name;
            archive.insert(format!("weight step/{name}"), &ranges.log_step);
            archive.insert_values(format!("lowest code/{name}"), &ranges.lowest())?;
        }
        for (node, ranges) in &self.student.activation_ranges {
            let name = &graph.nodes[node.0].name;
            archive.insert(format!("activation step/{name}"), &ranges.log_step);
        }
        for (kind, adam) in self.optimizers() {
            for (index, (first, second)) in adam.first.iter().zip(&adam.second).enumerate() {
                archive.insert_values(moment(kind, "first", index), first)?;
                archive.insert_values(moment(kind, "second", index), second)?;
            }
        }
        self.pool.archive(archive)?;
        archive.note(STEPS, self.parameters.steps);
        archive.note(POSITION, self.random.position());
        Ok(())
    }

    /// Goes on from what [`Refinement::archive`] gave for the same pool.
    ///
    /// # Errors
    /// [`crate::dfq::Error::Checkpoint`] names an entry that is missing or has another shape.
    pub(in crate::dfq) fn restore(mut self, archive: &Archive) -> Result<Self> {
        let graph = &mut self.student.trained;
        let names = graph.clone();
        for (id, parameter) in graph.parameters_mut() {
            let key = format!("refined/{}", parameter_key(&names, id));
            *parameter = archive.like(&key, parameter)?;
        }
        for (node, ranges) in &mut self.student.weight_ranges {
            let key = format!("lowest code/{}", names.nodes[node.0].name);
            ranges.set_lowest(&archive.values(&key, ranges.log_step.elem_count())?);
        }
        restore_steps(
            "weight step",
            &names,
            &mut self.student.weight_ranges,
            archive,
        )?;
        let activations = &mut self.student.activation_ranges;
        restore_steps("activation step", &names, activations, archive)?;
        let steps = archive.number(STEPS)?;
        for (kind, adam) in self.optimizers_mut() {
            adam.steps = steps;
            let moments = adam.first.iter_mut().zip(&mut adam.second);
            for (index, (first, second)) in moments.enumerate() {
                *first = archive.values(&moment(kind, "first", index), first.len())?;
                *second = archive.values(&moment(kind, "second", index), second.len())?;
            }
        }
        self.random = self.random.at(archive.number(POSITION)?);
        self.student.quantize()?;
        Ok(self)
    }

    fn optimizers(&self) -> [(&'static str, &Adam); 3] {
        [
            ("parameter", &self.parameters),
            ("weight step", &self.weight_steps),
            ("activation step", &self.activation_steps),
        ]
    }

    fn optimizers_mut(&mut self) -> [(&'static str, &mut Adam); 3] {
        [
            ("parameter", &mut self.parameters),
            ("weight step", &mut self.weight_steps),
            ("activation step", &mut self.activation_steps),
        ]
    }
}

fn restore_steps(
    kind: &str,
    graph: &Graph,
    ranges: &mut BTreeMap<NodeId, LearnedRanges>,
    archive: &Archive,
) -> Result<()> {
    for (node, ranges) in ranges {
        let key = format!("{kind}/{}", graph.nodes[node.0].name);
        ranges.log_step = archive.like(&key, &ranges.log_step)?;
    }
    Ok(())
}

fn moment(kind: &str, which: &str, index: usize) -> String {
    format!("refined {kind}/{which} moment/{index}")
}
