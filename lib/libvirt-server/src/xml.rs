//! XML as libvirt writes it: two blanks of indentation, single quotes, one element a line.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use std::fmt::Write as _;

/// An element with so many around it is refused, as libxml2 does it (`xmlParserMaxDepth`).
const DEPTH: usize = 256;
/// A document with more elements is refused: each costs more memory than the four bytes that it may be long.
const ELEMENTS: usize = 100_000;
/// An element with more attributes is refused: each is compared with all before it.
const ATTRIBUTES: usize = 256;

/// An element. Text and child elements do not mix, except in what [`Element::raw`] holds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Element>,
    pub(crate) text: String,
    style: Style,
}

/// How an element is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Style {
    /// `<a/>` when it is empty.
    #[default]
    Usual,
    /// Start and end, each on its own line, even when there is nothing between.
    Open,
    /// Start and end on one line, even when there is nothing between.
    Inline,
    /// Its text is XML already.
    Raw,
}

impl Element {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// An element that holds text.
    pub(crate) fn text(name: &str, text: impl ToString) -> Self {
        Self { text: text.to_string(), ..Self::new(name) }
    }

    /// XML that is written as it is.
    pub(crate) fn raw(xml: &str) -> Self {
        Self { text: xml.to_owned(), style: Style::Raw, ..Self::default() }
    }

    /// The same, with an attribute.
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.set(name, value);
        self
    }

    /// The same, with this text.
    pub(crate) fn holding(mut self, text: impl ToString) -> Self {
        self.text = text.to_string();
        self
    }

    /// The same, under another name.
    pub(crate) fn renamed(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The same, with a child.
    pub(crate) fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// The same, with children.
    pub(crate) fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    /// The same, on two lines when it is empty.
    pub(crate) fn open(mut self) -> Self {
        self.style = Style::Open;
        self
    }

    /// The same, with start and end when it is empty.
    pub(crate) fn inline(mut self) -> Self {
        self.style = Style::Inline;
        self
    }

    /// An attribute's value.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Sets an attribute; a new one goes to the end.
    pub(crate) fn set(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        match self.attributes.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
    }

    /// The first child of a name.
    pub(crate) fn find(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first child of a name, to be changed.
    pub(crate) fn find_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.children.iter_mut().find(|child| child.name == name)
    }

    /// All children of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of a name.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.find(name).map(|child| child.text.as_str())
    }

    /// A value below: `a/b/@c`, or `a/b` for a text.
    pub(crate) fn path(&self, path: &str) -> Option<&str> {
        match path.split_once('/') {
            Some((first, rest)) => self.find(first)?.path(rest),
            None => match path.strip_prefix('@') {
                Some(attribute) => self.attribute(attribute),
                None => self.text_of(path),
            },
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When it is no XML, or deeper or larger than any document that means something.
    pub(crate) fn parse(xml: &str) -> Result<Self, NoXml> {
        let mut reader = quick_xml::Reader::from_str(xml);
        let mut elements = 0;
        // The elements whose end has not come yet, outermost first.
        let mut open: Vec<Self> = Vec::new();
        loop {
            let at = reader.buffer_position();
            let line =
                || 1 + xml.bytes().take(usize::try_from(at).unwrap_or(0)).filter(|b| *b == b'\n').count();
            let flaw = |what: String| NoXml { line: line(), what };
            let event = reader.read_event().map_err(|error| flaw(error.to_string()))?;
            if matches!(event, Event::Start(_) | Event::Empty(_)) {
                elements += 1;
                if open.len() > DEPTH {
                    let text = format!("Excessive depth in document: {DEPTH} use XML_PARSE_HUGE option");
                    return Err(flaw(text));
                }
                if elements > ELEMENTS {
                    return Err(flaw(format!("more than {ELEMENTS} elements")));
                }
            }
            let closed = match event {
                Event::Start(start) => {
                    open.push(Self::started(&start).map_err(flaw)?);
                    continue;
                }
                Event::Empty(start) => Self::started(&start).map_err(flaw)?,
                Event::End(_) => open.pop().ok_or_else(|| flaw("an end without a start".into()))?,
                Event::Text(text) => {
                    if let Some(parent) = open.last_mut() {
                        parent.text.push_str(&text.xml10_content());
                    }
                    continue;
                }
                Event::CData(text) => {
                    if let Some(parent) = open.last_mut() {
                        parent.text.push_str(&text.xml10_content());
                    }
                    continue;
                }
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|error| flaw(error.to_string()))?;
                    let name = reference.xml10_content();
                    let resolved = match character {
                        Some(character) => character.to_string(),
                        None => quick_xml::escape::resolve_predefined_entity(&name)
                            .ok_or_else(|| flaw(format!("Entity '{name}' not defined")))?
                            .to_owned(),
                    };
                    if let Some(parent) = open.last_mut() {
                        parent.text.push_str(&resolved);
                    }
                    continue;
                }
                Event::Eof => {
                    return Err(flaw(match open.last() {
                        Some(unclosed) => format!("Premature end of data in tag {}", unclosed.name),
                        None => "Document is empty".to_owned(),
                    }));
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
            };
            let mut closed = closed;
            // Between elements there is only indentation.
            if !closed.children.is_empty() {
                closed.text.clear();
            }
            match open.last_mut() {
                Some(parent) => parent.children.push(closed),
                None => return Ok(closed),
            }
        }
    }

    fn started(start: &BytesStart<'_>) -> Result<Self, String> {
        let mut element = Self::new(start.name().0);
        for attribute in start.attributes() {
            if element.attributes.len() == ATTRIBUTES {
                return Err(format!("more than {ATTRIBUTES} attributes in tag {}", element.name));
            }
            let attribute = attribute.map_err(|error| error.to_string())?;
            let value =
                attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
            element.attributes.push((attribute.key.0.to_owned(), value.into_owned()));
        }
        Ok(element)
    }

    /// The document, with a line end behind it.
    pub(crate) fn print(&self) -> String {
        let mut out = String::new();
        self.print_at(0, &mut out);
        out
    }

    fn print_at(&self, depth: usize, out: &mut String) {
        let indent = 2 * depth;
        if self.style == Style::Raw {
            for line in self.text.lines() {
                let _ = writeln!(out, "{:indent$}{line}", "");
            }
            return;
        }
        let _ = write!(out, "{:indent$}<{}", "", self.name);
        for (name, value) in &self.attributes {
            let _ = write!(out, " {name}='{}'", escape(value));
        }
        let name = &self.name;
        let _ = if self.children.is_empty() {
            match (self.text.as_str(), self.style) {
                ("", Style::Usual | Style::Raw) => writeln!(out, "/>"),
                ("", Style::Open) => writeln!(out, ">\n{:indent$}</{name}>", ""),
                (text, _) => writeln!(out, ">{}</{name}>", escape(text)),
            }
        } else {
            out.push_str(">\n");
            self.children.iter().for_each(|child| child.print_at(depth + 1, out));
            writeln!(out, "{:indent$}</{name}>", "")
        };
    }

    /// The element over several lines with double quotes, as libxml writes what it was given.
    pub(crate) fn print_indented(&self) -> String {
        let mut out = String::new();
        self.indented(0, &mut out);
        out
    }

    fn indented(&self, depth: usize, out: &mut String) {
        let indent = 2 * depth;
        if self.children.is_empty() {
            let _ = write!(out, "{:indent$}", "");
            self.compact(out);
            out.push('\n');
            return;
        }
        let _ = write!(out, "{:indent$}<{}", "", self.name);
        for (name, value) in &self.attributes {
            let _ = write!(out, " {name}=\"{}\"", escape(value));
        }
        out.push_str(">\n");
        self.children.iter().for_each(|child| child.indented(depth + 1, out));
        let _ = writeln!(out, "{:indent$}</{}>", "", self.name);
    }

    fn compact(&self, out: &mut String) {
        let _ = write!(out, "<{}", self.name);
        for (name, value) in &self.attributes {
            let _ = write!(out, " {name}=\"{}\"", escape(value));
        }
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        out.push_str(&escape(&self.text));
        self.children.iter().for_each(|child| child.compact(out));
        let _ = write!(out, "</{}>", self.name);
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}

/// What is no XML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct NoXml {
    pub(crate) line: usize,
    pub(crate) what: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use seeded::Random;

    #[test]
    fn what_is_read_is_written_the_same() {
        let xml = "<a b='c &amp; &apos;d&apos;'>\n  <e/>\n  <f>g &lt; h</f>\n</a>\n";
        let read = Element::parse(xml).unwrap();
        assert_eq!(read.attribute("b"), Some("c & 'd'"));
        assert_eq!(read.path("f"), Some("g < h"));
        assert_eq!(read.print(), xml);
    }

    #[test]
    fn what_is_no_xml_is_refused_with_its_line() {
        for (xml, line) in [("", 1), ("<a", 1), ("<a>\n<b>\n</a>", 3), ("<a>\n", 2), ("<a>&nosuch;</a>", 1)] {
            assert_eq!(Element::parse(xml).unwrap_err().line, line, "{xml}");
        }
    }

    /// Elements within each other, so many around the innermost.
    fn nested(around: usize) -> String {
        format!("{}<b/>{}", "<a>".repeat(around), "</a>".repeat(around))
    }

    #[test]
    fn a_document_is_as_deep_as_libxml_takes_it() {
        let deepest = Element::parse(&nested(256)).unwrap();
        // What was read can be copied, compared, printed and given up.
        assert_eq!(deepest.clone(), deepest);
        assert_eq!(deepest.print().lines().count(), 513);
        assert_eq!(deepest.print_indented().lines().count(), 513);
        for around in [257, 100_000, 700_000] {
            let error = Element::parse(&nested(around)).unwrap_err();
            assert_eq!(error.what, "Excessive depth in document: 256 use XML_PARSE_HUGE option");
        }
        // Also one that does not end.
        assert!(Element::parse(&"<a>".repeat(1_000_000)).unwrap_err().what.contains("Excessive depth"));
    }

    #[test]
    fn a_document_has_as_many_elements_and_attributes_as_can_be_held() {
        let many = |count| format!("<a>{}</a>", "<b/>".repeat(count));
        assert_eq!(Element::parse(&many(ELEMENTS - 1)).unwrap().children.len(), ELEMENTS - 1);
        assert!(Element::parse(&many(ELEMENTS)).unwrap_err().what.contains("100000 elements"));
        let with =
            |count: usize| format!("<a {}/>", (0..count).map(|at| format!("a{at}='' ")).collect::<String>());
        assert_eq!(Element::parse(&with(ATTRIBUTES)).unwrap().attributes.len(), ATTRIBUTES);
        assert!(Element::parse(&with(400_000)).unwrap_err().what.contains("256 attributes"));
    }

    /// Documents of pieces that nest, end early, or end what did not begin.
    #[test]
    fn any_pieces_are_read_or_refused() {
        let pieces = [
            "<a>",
            "</a>",
            "<b c='d'>",
            "</b>",
            "<e/>",
            "text",
            "&lt;",
            "&x;",
            "<!-- -->",
            "<![CDATA[",
            "]]>",
        ];
        let mut random = Random::new(7);
        let (mut read, mut refused) = (0, 0);
        for round in 0..3000 {
            // Some are deeper than may be; the ends of the others fit more often than by chance.
            let mut xml =
                if round % 10 == 0 { "<a>".repeat(random.below(600) as usize) } else { "<a>".into() };
            let mut open = vec!["</a>"; xml.len() / 3];
            for _ in 0..random.below(40) {
                let piece = pieces[random.below(pieces.len() as u64) as usize];
                match piece {
                    "<a>" => open.push("</a>"),
                    "<b c='d'>" => open.push("</b>"),
                    "</a>" | "</b>" if random.below(8) > 0 => {
                        xml.push_str(open.pop().unwrap_or_default());
                        continue;
                    }
                    _ => {}
                }
                xml.push_str(piece);
            }
            if random.below(4) > 0 {
                xml.extend(open.into_iter().rev());
            }
            match Element::parse(&xml) {
                Ok(element) => {
                    read += 1;
                    let printed = element.print();
                    assert_eq!(Element::parse(&printed).map(|again| again.print()), Ok(printed), "{xml}");
                }
                Err(_) => refused += 1,
            }
        }
        assert!(read > 300 && refused > 300, "{read} read, {refused} refused");
    }
}
