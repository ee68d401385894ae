//! YAML text to a small tree in which every value knows its line and column.
//!
//! A serde deserialiser stops at its first error and forgets where values stood; operators get
//! every problem at once, so the text becomes this tree first and `read` walks it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::problem::{Collector, Position, quote};

/// What one file may cost, copies made by aliases included: bounds an alias bomb. A value costs 1
/// and 1 more for each 32 bytes of its text, so a file without aliases comes near only if it is of
/// the greatest length.
const COST_MAX: usize = 600_000;

/// Bytes of text that cost as much as one more value.
const BYTES_PER_COST: usize = 32;

/// Levels of nesting; the model has six. Keeps everything that walks the tree within a small stack.
const DEPTH_MAX: usize = 32;

/// One value.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A text; `plain` if it stood without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    Seq(Vec<Node>),
    /// Keys and values in the order written; keys are unique.
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) value: Node,
}

impl Node {
    /// Nothing written, `null` or `~`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// For messages: what stands here.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar { .. } if self.is_null() => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// A finished value, its levels including itself, and what a copy of it costs.
#[derive(Clone)]
struct Measured {
    node: Node,
    height: usize,
    cost: usize,
}

/// A list or mapping that is being read.
struct Frame {
    at: Position,
    anchor: usize,
    height: usize,
    cost: usize,
    items: Items,
}

enum Items {
    Seq(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        keys: HashSet<String>,
        /// The key whose value comes next.
        key: Option<Key>,
    },
}

/// A key: `None` for one that was reported; its value is read and dropped.
type Key = Option<(String, Position)>;

struct Builder<'a> {
    collector: &'a mut Collector,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Measured>,
    spent: usize,
    root: Option<Node>,
}

/// Why a text has no structure that could be read on with.
pub(crate) struct Unreadable {
    pub(crate) at: Position,
    pub(crate) message: String,
}

/// Reads one YAML document; `None` when it is empty. Keys that cannot be used are reported to the
/// collector and left out.
pub(crate) fn parse(text: &str, collector: &mut Collector) -> Result<Option<Node>, Unreadable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { collector, stack: Vec::new(), anchors: HashMap::new(), spent: 0, root: None };
    let mut documents = 0;
    for next in Parser::new_from_str(text) {
        let (event, span) = match next {
            Ok(next) => next,
            Err(error) => {
                let marker = *error.marker();
                let at = Position { line: marker.line(), column: marker.col() + 1 };
                let message = format!("this is not YAML: {}", error.info());
                return Err(Unreadable { at, message });
            }
        };
        let at = start(&span);
        let outcome = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    Err("a second document starts here: a configuration is one document".to_owned())
                } else {
                    Ok(())
                }
            }
            Event::Alias(id) => builder.alias(at, id),
            Event::Scalar(text, style, anchor, tag) => {
                builder.scalar(at, text, style, anchor, tag.is_some())
            }
            Event::SequenceStart(_, anchor, tag) => {
                builder.open(at, anchor, tag.is_some(), Items::Seq(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => builder.open(
                at,
                anchor,
                tag.is_some(),
                Items::Map { entries: Vec::new(), keys: HashSet::new(), key: None },
            ),
            Event::SequenceEnd | Event::MappingEnd => builder.close(),
            _ => Ok(()),
        };
        outcome.map_err(|message| Unreadable { at, message })?;
    }
    Ok(builder.root)
}

fn start(span: &Span) -> Position {
    Position { line: span.start.line(), column: span.start.col() + 1 }
}

impl Builder<'_> {
    fn scalar(
        &mut self,
        at: Position,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tagged: bool,
    ) -> Result<(), String> {
        if tagged {
            return Err(
                "YAML tags such as !!str are not used here: quote the text instead".to_owned()
            );
        }
        let cost = 1 + text.len() / BYTES_PER_COST;
        self.spend(cost)?;
        let node = Node {
            at,
            kind: Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain },
        };
        let height = 1;
        self.add(Measured { node, height, cost }, anchor)
    }

    fn open(
        &mut self,
        at: Position,
        anchor: usize,
        tagged: bool,
        items: Items,
    ) -> Result<(), String> {
        if tagged {
            return Err("YAML tags such as !!map are not used here".to_owned());
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err(format!("nested more than {DEPTH_MAX} levels deep"));
        }
        self.stack.push(Frame { at, anchor, height: 1, cost: 1, items });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let kind = match frame.items {
            Items::Seq(nodes) => Kind::Seq(nodes),
            Items::Map { entries, .. } => Kind::Map(entries),
        };
        self.spend(1)?;
        let value =
            Measured { node: Node { at: frame.at, kind }, height: frame.height, cost: frame.cost };
        self.add(value, frame.anchor)
    }

    fn alias(&mut self, at: Position, id: usize) -> Result<(), String> {
        let inside = || "this alias stands inside the value that it repeats".to_owned();
        let cost = self.anchors.get(&id).ok_or_else(inside)?.cost;
        self.spend(cost)?;
        let mut value = self.anchors.get(&id).cloned().ok_or_else(inside)?;
        value.node.at = at;
        self.add(value, 0)
    }

    /// Before anything is kept or copied.
    fn spend(&mut self, cost: usize) -> Result<(), String> {
        self.spent += cost;
        if self.spent > COST_MAX {
            return Err("too many values, copies made by aliases included".to_owned());
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, value: Measured, anchor: usize) -> Result<(), String> {
        if self.stack.len() + value.height > DEPTH_MAX + 1 {
            return Err(format!("nested more than {DEPTH_MAX} levels deep"));
        }
        if anchor != 0 {
            self.spend(value.cost)?;
            self.anchors.insert(anchor, value.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(value.node);
            return Ok(());
        };
        frame.height = frame.height.max(value.height + 1);
        frame.cost += value.cost;
        match &mut frame.items {
            Items::Seq(nodes) => nodes.push(value.node),
            Items::Map { entries, keys, key } => match key.take() {
                None => *key = Some(usable_key(value.node, keys, self.collector)),
                Some(None) => {}
                Some(Some((key, at))) => entries.push(Entry { key, at, value: value.node }),
            },
        }
        Ok(())
    }
}

fn usable_key(node: Node, keys: &mut HashSet<String>, collector: &mut Collector) -> Key {
    let Kind::Scalar { text, .. } = node.kind else {
        collector.problem(node.at, "", "a key must be a single word", None);
        return None;
    };
    if !keys.insert(text.clone()) {
        let message = format!("the key {} stands here a second time", quote(&text));
        collector.problem(node.at, "", &message, None);
        return None;
    }
    Some((text, node.at))
}
