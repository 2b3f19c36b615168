//! The machine that a pickle is a program for: a stack, marks on it, and a memo. Each instruction
//! makes at most one object.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use super::{Error, Id, Object, Pickle};

pub(super) fn run(source: &mut dyn BufRead) -> Result<Pickle, Error> {
    let mut machine = Machine {
        source,
        offset: 0,
        objects: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let start = machine.offset;
        let stopped = machine.step().map_err(|what| Error {
            offset: start,
            what,
        })?;
        if let Some(root) = stopped {
            return Ok(Pickle {
                objects: machine.objects,
                root,
                length: machine.offset,
            });
        }
    }
}

/// What is wrong, without the place.
type Step<T> = Result<T, String>;

struct Machine<'a> {
    source: &'a mut dyn BufRead,
    /// Bytes that were read.
    offset: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    /// Does one instruction; the last one gives the result.
    fn step(&mut self) -> Step<Option<Id>> {
        match self.byte()? {
            b'.' => return self.pop().map(Some),
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'p' => {
                let key = self.number_line()?;
                self.put(key as u64)?;
            }
            b'q' => {
                let key = self.byte()?;
                self.put(key.into())?;
            }
            b'r' => {
                let key = self.length4()?;
                self.put(key as u64)?;
            }
            0x94 => self.put(self.memo.len() as u64)?,
            b'g' => {
                let key = self.number_line()?;
                self.recall(key as u64)?;
            }
            b'h' => {
                let key = self.byte()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = self.length4()?;
                self.recall(key as u64)?;
            }
            instruction @ (b'a' | b'e' | b's' | b'u' | 0x90 | b'b') => self.change(instruction)?,
            instruction => {
                let object = match instruction {
                    b')' | b't' | 0x85..=0x87 | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91 => {
                        self.collection(instruction)?
                    }
                    b'c' | b'i' | b'o' | 0x81 | 0x92 | 0x93 | b'R' | b'P' | b'Q' => {
                        self.reference(instruction)?
                    }
                    _ => self.atom(instruction)?,
                };
                self.push(object);
            }
        }
        Ok(None)
    }

    /// Numbers, texts and bytes.
    fn atom(&mut self, instruction: u8) -> Step<Object> {
        Ok(match instruction {
            b'N' => Object::None,
            0x88 => Object::Bool(true),
            0x89 => Object::Bool(false),
            b'J' => Object::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Object::Int(self.byte()?.into()),
            b'M' => Object::Int(u16::from_le_bytes(self.array()?).into()),
            b'G' => Object::Float(f64::from_be_bytes(self.array()?)),
            b'F' => Object::Float(self.line()?.parse().map_err(|_| "a wrong number")?),
            b'I' => match self.line()?.as_str() {
                "00" => Object::Bool(false),
                "01" => Object::Bool(true),
                text => Object::Int(text.parse().map_err(|_| "a wrong integer")?),
            },
            b'L' => {
                let text = self.line()?;
                let digits = text.strip_suffix('L').unwrap_or(&text);
                Object::Int(digits.parse().map_err(|_| "an integer beyond 64 bits")?)
            }
            0x8a => {
                let length = self.byte()?.into();
                integer(&self.take(length)?)
            }
            0x8b => {
                let length = self.length4()?;
                integer(&self.take(length)?)
            }
            b'U' | b'C' => {
                let length = self.byte()?.into();
                Object::Bytes(self.take(length)?)
            }
            b'T' | b'B' => {
                let length = self.length4()?;
                Object::Bytes(self.take(length)?)
            }
            0x8e | 0x96 => {
                let length = self.length8()?;
                Object::Bytes(self.take(length)?)
            }
            0x8c => {
                let length = self.byte()?.into();
                self.text(length)?
            }
            b'X' => {
                let length = self.length4()?;
                self.text(length)?
            }
            0x8d => {
                let length = self.length8()?;
                self.text(length)?
            }
            b'V' => Object::Text(self.line()?),
            b'S' => {
                let line = self.line()?;
                let inner = line.get(1..line.len().saturating_sub(1)).unwrap_or("");
                if inner.contains('\\') {
                    return Err("a text with escapes".into());
                }
                Object::Bytes(inner.as_bytes().to_vec())
            }
            other => return Err(format!("the unknown instruction 0x{other:02x}")),
        })
    }

    fn collection(&mut self, instruction: u8) -> Step<Object> {
        Ok(match instruction {
            b')' => Object::Tuple(Vec::new()),
            b't' => Object::Tuple(self.pop_mark()?),
            0x85..=0x87 => {
                let count = usize::from(instruction - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or(EMPTY)?;
                self.check_marks(start)?;
                Object::Tuple(self.stack.split_off(start))
            }
            b']' | 0x8f => Object::List(Vec::new()),
            b'l' | 0x91 => Object::List(self.pop_mark()?),
            b'd' => Object::Dict(pairs(&self.pop_mark()?)?),
            _ => Object::Dict(Vec::new()),
        })
    }

    /// Classes, calls and what is outside the pickle.
    fn reference(&mut self, instruction: u8) -> Step<Object> {
        Ok(match instruction {
            b'c' => Object::Global {
                module: self.line()?,
                name: self.line()?,
            },
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.objects[id.0] {
                    Object::Text(text) => Ok(text.clone()),
                    _ => Err("a class whose name is no text".to_owned()),
                };
                Object::Global {
                    module: text(module)?,
                    name: text(name)?,
                }
            }
            b'P' => {
                let text = Object::Text(self.line()?);
                Object::Persistent(self.keep(text))
            }
            b'Q' => Object::Persistent(self.pop()?),
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let callable = self.keep(Object::Global { module, name });
                let arguments = self.pop_mark()?;
                let arguments = self.keep(Object::Tuple(arguments));
                call(callable, arguments)
            }
            b'o' => {
                let mut arguments = self.pop_mark()?;
                if arguments.is_empty() {
                    return Err("an object without a class".into());
                }
                let callable = arguments.remove(0);
                let arguments = self.keep(Object::Tuple(arguments));
                call(callable, arguments)
            }
            0x92 => {
                let _named = self.pop()?;
                let (arguments, callable) = (self.pop()?, self.pop()?);
                call(callable, arguments)
            }
            _ => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.dictionary(callable, arguments)
                    .unwrap_or_else(|| call(callable, arguments))
            }
        })
    }

    /// The call of a dictionary's class, with pairs or without arguments.
    fn dictionary(&self, callable: Id, arguments: Id) -> Option<Object> {
        let Object::Global { module, name } = &self.objects[callable.0] else {
            return None;
        };
        let is_dictionary =
            module == "collections" && (name == "OrderedDict" || name == "defaultdict");
        let elements = |id: Id| match &self.objects[id.0] {
            Object::Tuple(elements) | Object::List(elements) => Some(elements.as_slice()),
            _ => None,
        };
        let list = match (is_dictionary, elements(arguments)?) {
            (false, _) => return None,
            (true, &[list]) => elements(list).unwrap_or(&[]),
            (true, _) => &[],
        };
        let pair = |&id: &Id| match elements(id)? {
            &[key, value] => Some((key, value)),
            _ => None,
        };
        Some(Object::Dict(list.iter().filter_map(pair).collect()))
    }

    /// Instructions that change the object below their operands.
    fn change(&mut self, instruction: u8) -> Step<()> {
        let operands = match instruction {
            b'a' | b'b' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let target = self.top()?;
        match (instruction, &mut self.objects[target.0]) {
            (b'a' | b'e' | 0x90, Object::List(elements)) => elements.extend(operands),
            (b's' | b'u', Object::Dict(entries)) => entries.extend(pairs(&operands)?),
            (b'b', Object::Call { state, .. }) => *state = operands.first().copied(),
            // Attributes of a dictionary.
            (b'b', _) => {}
            _ => return Err("elements added to something that has none".into()),
        }
        Ok(())
    }

    fn keep(&mut self, object: Object) -> Id {
        self.objects.push(object);
        Id(self.objects.len() - 1)
    }

    fn push(&mut self, object: Object) {
        let id = self.keep(object);
        self.stack.push(id);
    }

    fn top(&self) -> Step<Id> {
        self.check_marks(self.stack.len().saturating_sub(1))?;
        self.stack.last().copied().ok_or_else(|| EMPTY.into())
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Fails if a mark lies above `height`.
    fn check_marks(&self, height: usize) -> Step<()> {
        match self.marks.last() {
            Some(mark) if *mark > height => Err("an operand before its mark".into()),
            _ => Ok(()),
        }
    }

    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("a missing mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn put(&mut self, key: u64) -> Step<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Step<()> {
        let found = self.memo.get(&key).ok_or("an object that was not kept")?;
        self.stack.push(*found);
        Ok(())
    }

    /// The next `length` bytes; memory is taken for those that there are.
    fn take(&mut self, length: usize) -> Step<Vec<u8>> {
        let mut found = Vec::new();
        let read = (&mut *self.source)
            .take(length as u64)
            .read_to_end(&mut found);
        read.map_err(unreadable)?;
        if found.len() < length {
            return Err(ended(length, found.len()));
        }
        self.offset += length;
        Ok(found)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        for (found, byte) in bytes.iter_mut().enumerate() {
            let buffer = self.source.fill_buf().map_err(unreadable)?;
            *byte = *buffer.first().ok_or_else(|| ended(N, found))?;
            self.source.consume(1);
        }
        self.offset += N;
        Ok(bytes)
    }

    fn byte(&mut self) -> Step<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    fn length4(&mut self) -> Step<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length8(&mut self) -> Step<usize> {
        let length = u64::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| format!("a length of {length}"))
    }

    fn text(&mut self, length: usize) -> Step<Object> {
        let text = String::from_utf8(self.take(length)?);
        Ok(Object::Text(text.map_err(|_| "a text that is not UTF-8")?))
    }

    /// The rest of the line, as text.
    fn line(&mut self) -> Step<String> {
        let mut line = Vec::new();
        let read = self.source.read_until(b'\n', &mut line);
        self.offset += read.map_err(unreadable)?;
        line.pop_if(|last| *last == b'\n')
            .ok_or("a line without end")?;
        let mut text = String::from_utf8(line).map_err(|_| "a line that is not UTF-8")?;
        text.truncate(text.trim_end_matches('\r').len());
        Ok(text)
    }

    fn number_line(&mut self) -> Step<u32> {
        self.line()?.parse().map_err(|_| "a wrong number".into())
    }
}

const EMPTY: &str = "an operand is missing";

fn ended(length: usize, found: usize) -> String {
    format!("{length} bytes expected, {found} left")
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn unreadable(error: io::Error) -> String {
    format!("it cannot be read: {error}")
}

fn call(callable: Id, arguments: Id) -> Object {
    Object::Call {
        callable,
        arguments,
        state: None,
    }
}

fn pairs(operands: &[Id]) -> Step<Vec<(Id, Id)>> {
    let (pairs, rest) = operands.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err("a key without a value".into())
    }
}

/// A little-endian integer in two's complement.
fn integer(bytes: &[u8]) -> Object {
    if bytes.len() > 8 {
        return Object::Long(bytes.to_vec());
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut full = [if negative { 0xff } else { 0 }; 8];
    full[..bytes.len()].copy_from_slice(bytes);
    Object::Int(i64::from_le_bytes(full))
}
