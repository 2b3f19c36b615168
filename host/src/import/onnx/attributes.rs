//! Attributes of a node.

use super::Refusal;
use super::schema::{AttributeProto, NodeProto, TensorProto};

impl NodeProto {
    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|found| found.name == name)
    }

    /// An integer, or `default` where it is not given.
    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name)
            .and_then(|found| found.i)
            .unwrap_or(default)
    }

    /// A number, or `default` where it is not given.
    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name)
            .and_then(|found| found.f)
            .unwrap_or(default)
    }

    /// A list of integers, `None` where it is not given.
    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|found| found.ints.as_slice())
    }

    /// A list of numbers, `None` where it is not given.
    pub(super) fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|found| found.floats.as_slice())
    }

    /// A text, `default` where it is not given.
    pub(super) fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        let text = self.attribute(name).and_then(|found| found.s.as_deref());
        text.and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or(default)
    }

    /// A tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.attribute(name)?.t.as_ref()
    }

    /// A tensor, taken out of the node.
    pub(super) fn take_tensor(&mut self, name: &str) -> Option<TensorProto> {
        let mut attributes = self.attribute.iter_mut();
        attributes.find(|found| found.name == name)?.t.take()
    }

    /// Two sizes for rows and columns, `default` where they are not given.
    pub(super) fn pair(&self, name: &str, default: usize) -> Result<[usize; 2], Refusal> {
        let refused = |found: &[i64]| Refusal::new(format!("{name} {found:?}; two sizes expected"));
        match self.ints(name) {
            None | Some([]) => Ok([default; 2]),
            Some(found @ &[rows, columns]) => {
                let size = |size| usize::try_from(size).map_err(|_| refused(found));
                Ok([size(rows)?, size(columns)?])
            }
            Some(found) => Err(refused(found)),
        }
    }

    /// What the user can find the node by.
    pub(super) fn label(&self) -> &str {
        match (self.name.as_str(), self.output.first()) {
            ("", Some(output)) => output,
            (name, _) => name,
        }
    }
}
