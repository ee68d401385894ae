//! YAML text to a tree in which every value knows which bytes it is written with.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};

use super::EditError;
use super::document::Document;
use crate::load::CONFIG_BYTES_MAX;

/// Levels of nesting; what loads has no more.
const DEPTH_MAX: usize = 32;

/// One value and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// First byte and the byte after the last.
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
    /// Written in `[…]` or `{…}`.
    pub(super) flow: bool,
    /// Has an anchor or is an alias: other places depend on how it is written.
    pub(super) own: bool,
    /// That, or something in it has or is one.
    pub(super) tied: bool,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The key's bytes, quotes included.
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

impl Node {
    /// What it says.
    pub(super) fn document(&self) -> Document {
        match &self.kind {
            Kind::Scalar { text, plain: true }
                if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") =>
            {
                Document::Null
            }
            Kind::Scalar { text, plain } => Document::Scalar { text: text.clone(), plain: *plain },
            Kind::List(items) => Document::List(items.iter().map(Self::document).collect()),
            Kind::Map(entries) => Document::Map(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.document())).collect(),
            ),
        }
    }
}

/// A list or mapping that is being read.
struct Frame {
    node: Node,
    anchor: usize,
    key: Option<(String, Range<usize>)>,
}

/// Reads one document; None when it is empty. The text must be one that loads.
pub(super) fn parse(text: &str) -> Result<Option<Node>, EditError> {
    let wrong = |message: &str| EditError::Text(message.to_owned());
    let mut stack: Vec<Frame> = Vec::new();
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    let mut root = None;
    // Aliases copy: as many bytes of values as a file may have, and no more.
    let mut copied = 0;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| wrong(&error.info()))?;
        let span = span.byte_range().unwrap_or(0..0);
        let (node, anchor) = match event {
            Event::Scalar(value, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let kind = Kind::Scalar { text: value.into_owned(), plain };
                (Node { span, kind, flow: false, own: anchor != 0, tied: anchor != 0 }, anchor)
            }
            Event::Alias(id) => {
                let mut node =
                    anchors.get(&id).cloned().ok_or_else(|| wrong("an alias of nothing"))?;
                copied += node.span.len();
                if copied > CONFIG_BYTES_MAX {
                    return Err(wrong("the aliases repeat too much"));
                }
                node.span = span;
                node.own = true;
                node.tied = true;
                (node, 0)
            }
            Event::SequenceStart(style, anchor, _) => {
                open(&mut stack, span, Kind::List(Vec::new()), style, anchor)?;
                continue;
            }
            Event::MappingStart(style, anchor, _) => {
                open(&mut stack, span, Kind::Map(Vec::new()), style, anchor)?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut frame) = stack.pop() else { continue };
                if frame.node.flow {
                    frame.node.span.end = span.end;
                }
                (frame.node, frame.anchor)
            }
            _ => continue,
        };
        if anchor != 0 {
            anchors.insert(anchor, node.clone());
        }
        match stack.last_mut() {
            None => root = Some(node),
            Some(frame) => frame.take(text, node),
        }
    }
    Ok(root)
}

fn open(
    stack: &mut Vec<Frame>,
    span: Range<usize>,
    kind: Kind,
    style: StructureStyle,
    anchor: usize,
) -> Result<(), EditError> {
    if stack.len() >= DEPTH_MAX {
        return Err(EditError::Text(format!("nested more than {DEPTH_MAX} levels deep")));
    }
    let flow = style == StructureStyle::Flow;
    let own = anchor != 0;
    let node = Node { span: span.start..span.start, kind, flow, own, tied: own };
    stack.push(Frame { node, anchor, key: None });
    Ok(())
}

impl Frame {
    /// Puts a finished value where it belongs.
    fn take(&mut self, text: &str, mut node: Node) {
        let is_map = matches!(self.node.kind, Kind::Map(_));
        if is_map && self.key.is_none() {
            if let Kind::Scalar { text, .. } = node.kind {
                self.key = Some((text, node.span));
            } else {
                self.key = Some((String::new(), node.span));
            }
            return;
        }
        if let Some((_, key_span)) = &self.key
            && matches!(&node.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~"))
            && text.get(node.span.clone()) != Some("~")
        {
            // What is not written stands right behind the colon.
            let rest = text.get(key_span.end..).unwrap_or("");
            let at = rest.find(':').map_or(key_span.end, |colon| key_span.end + colon + 1);
            node.span = at..at;
        }
        self.node.tied |= node.tied;
        self.node.span.end = self.node.span.end.max(node.span.end);
        match &mut self.node.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => {
                if let Some((key, key_span)) = self.key.take() {
                    entries.push(Entry { key, key_span, value: node });
                }
            }
            Kind::Scalar { .. } => {}
        }
    }
}
