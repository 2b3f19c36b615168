//! Python's pickles as plain data. Nothing is imported and nothing is called: classes and calls stay
//! what they are, names with arguments. Memory grows with the length of the pickle only, as objects
//! refer to each other by number.

mod machine;
#[cfg(test)]
mod tests;

use std::io::BufRead;

/// Number of an object within its pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(usize);

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A longer integer, little-endian.
    Long(Vec<u8>),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes, or a text of Python 2.
    Bytes(Vec<u8>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    /// A dictionary, ordered or not.
    Dict(Vec<(Id, Id)>),
    /// A class or function.
    Global {
        /// Where Python would import it from.
        module: String,
        /// What it is called there.
        name: String,
    },
    /// What Python would get by a call.
    Call {
        /// What would be called.
        callable: Id,
        /// Tuple of the arguments.
        arguments: Id,
        /// What the result would be told to take its attributes from.
        state: Option<Id>,
    },
    /// An object outside the pickle.
    Persistent(Id),
}

/// Where and why a pickle cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} of the pickle: {what}")]
pub struct Error {
    /// Byte offset in the pickle.
    pub offset: usize,
    /// What is wrong there.
    pub what: String,
}

/// A pickle that has been read.
#[derive(Debug, Clone)]
pub struct Pickle {
    objects: Vec<Object>,
    root: Id,
    length: usize,
}

impl Pickle {
    /// Reads the pickle at the start of `source`, and no byte behind it.
    ///
    /// # Errors
    /// If it is truncated, no pickle, or cannot be read.
    pub fn read(mut source: impl BufRead) -> Result<Self, Error> {
        machine::run(&mut source)
    }

    /// Number of bytes that the pickle takes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The object that was pickled.
    #[must_use]
    pub fn root(&self) -> Id {
        self.root
    }

    /// Object number `id`.
    #[must_use]
    pub fn get(&self, id: Id) -> &Object {
        self.objects.get(id.0).unwrap_or(&Object::None)
    }

    /// An integer that is not negative.
    #[must_use]
    pub fn size(&self, id: Id) -> Option<usize> {
        match *self.get(id) {
            Object::Int(value) => usize::try_from(value).ok(),
            _ => None,
        }
    }

    /// A text, also one of Python 2.
    #[must_use]
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Object::Text(text) => Some(text),
            Object::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Elements of a tuple or list.
    #[must_use]
    pub fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Object::Tuple(elements) | Object::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// What a dictionary has under `key`, the last one if there are several.
    #[must_use]
    pub fn entry(&self, dict: Id, key: &str) -> Option<Id> {
        let Object::Dict(entries) = self.get(dict) else {
            return None;
        };
        let found = |(name, _): &&(Id, Id)| self.text(*name) == Some(key);
        entries.iter().rev().find(found).map(|(_, value)| *value)
    }

    /// Module and name of a class or function.
    #[must_use]
    pub fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.get(id) {
            Object::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    /// All references to objects outside the pickle.
    pub fn persistent(&self) -> impl Iterator<Item = Id> {
        let objects = self.objects.iter().enumerate();
        objects.filter_map(|(index, object)| {
            matches!(object, Object::Persistent(_)).then_some(Id(index))
        })
    }
}
