//! The table of messages: its language, parsed into specs.
//!
//! The generator (`build.rs`) and the dynamic codec both read the table through this file, so that there is one
//! understanding of it. The language is described in the crate's README. A mistake in the table stops the build with the
//! file and the line.

/// All messages, in file order.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) messages: Vec<MessageSpec>,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    /// The header of a request or a response.
    Header,
    /// Key of a coordinator's record; `api` is its record type.
    Key,
    /// Value of a coordinator's record; `api` is its record type.
    Value,
    /// A record of the metadata log; `api` is its record type.
    Metadata,
    /// Any other structure.
    Data,
}

/// One message: a line without indentation and the fields below it.
#[derive(Debug)]
pub(crate) struct MessageSpec {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// API key or record type.
    pub(crate) api: Option<i16>,
    pub(crate) versions: Versions,
    pub(crate) flexible: Versions,
    /// The newest version is not for use yet.
    pub(crate) unstable: bool,
    /// The lowest version a broker advertises, where that is not the lowest it serves.
    pub(crate) advertised: Option<i16>,
    /// Whose records these are, for keys and values: `group`, `transaction` or `share_state`.
    pub(crate) coordinator: Option<String>,
    pub(crate) on_broker: bool,
    pub(crate) on_controller: bool,
    pub(crate) fields: Vec<FieldSpec>,
    /// Nested structs, each named once; fields refer to them by index.
    pub(crate) structs: Vec<StructSpec>,
}

/// A nested struct.
#[derive(Debug)]
pub(crate) struct StructSpec {
    pub(crate) name: String,
    pub(crate) versions: Versions,
    pub(crate) fields: Vec<FieldSpec>,
}

/// One field.
#[derive(Debug)]
pub(crate) struct FieldSpec {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) versions: Versions,
    /// Versions in which the value may be null.
    pub(crate) nullable: Versions,
    /// A tagged field, in all its versions.
    pub(crate) tag: Option<u32>,
    /// Never in the compact form.
    pub(crate) rigid: bool,
    pub(crate) default: Option<String>,
    /// The field is part of what makes an array's elements distinct.
    pub(crate) key: bool,
    /// A value that a version cannot carry is left out instead of being an error.
    pub(crate) ignorable: bool,
}

/// Type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Array(Box<Type>),
    /// Index into [`MessageSpec::structs`].
    Struct(usize),
}

/// An inclusive range of versions; empty where `min > max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

/// A mistake in the table.
#[derive(Debug)]
pub(crate) struct TableError {
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl std::fmt::Display for TableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl Versions {
    pub(crate) const NONE: Versions = Versions { min: 0, max: -1 };

    pub(crate) fn contains(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.min > self.max
    }

    pub(crate) fn intersect(self, other: Versions) -> Versions {
        Versions { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    pub(crate) fn iter(self) -> std::ops::RangeInclusive<i16> {
        self.min..=self.max
    }

    /// `3`, `3-5`, `3+` or `none`.
    fn parse(text: &str) -> Option<Versions> {
        if text == "none" {
            return Some(Versions::NONE);
        }
        if let Some(min) = text.strip_suffix('+') {
            return Some(Versions { min: min.parse().ok()?, max: i16::MAX });
        }
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        Some(Versions { min: min.parse().ok()?, max: max.parse().ok()? })
    }
}

impl Table {
    /// Adds the messages of one file.
    pub(crate) fn parse(&mut self, text: &str) -> Result<(), TableError> {
        let mut lines = Lines::new(text);
        while let Some(line) = lines.next_at(0) {
            let message = MessageSpec::parse(&line, &mut lines).map_err(|what| lines.error(what))?;
            self.messages.push(message);
        }
        match lines.peek() {
            None => Ok(()),
            Some(_) => Err(lines.error("a line is indented too far".to_owned())),
        }
    }
}

impl MessageSpec {
    fn parse(line: &str, lines: &mut Lines<'_>) -> Result<MessageSpec, String> {
        let mut words = line.split_whitespace();
        let kind = match words.next() {
            Some("request") => Kind::Request,
            Some("response") => Kind::Response,
            Some("header") => Kind::Header,
            Some("key") => Kind::Key,
            Some("value") => Kind::Value,
            Some("metadata") => Kind::Metadata,
            Some("data") => Kind::Data,
            other => return Err(format!("unknown kind of message {other:?}")),
        };
        let mut message = MessageSpec {
            kind,
            name: words.next().ok_or("a message has no name")?.to_owned(),
            api: None,
            versions: Versions::NONE,
            flexible: Versions::NONE,
            unstable: false,
            advertised: None,
            coordinator: None,
            on_broker: false,
            on_controller: false,
            fields: Vec::new(),
            structs: Vec::new(),
        };
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "api" => message.api = Some(number(value)?),
                "versions" => message.versions = versions(value)?,
                "flexible" => message.flexible = versions(value)?,
                "unstable" => message.unstable = true,
                "advertised" => message.advertised = Some(number(value)?),
                "of" => message.coordinator = Some(value.to_owned()),
                "listeners" => {
                    message.on_broker = value.split(',').any(|l| l == "broker");
                    message.on_controller = value.split(',').any(|l| l == "controller");
                }
                _ => return Err(format!("unknown word {word}")),
            }
        }
        if message.versions.is_empty() {
            return Err("a message has no versions".to_owned());
        }
        let mut fields = RawFields::default();
        message.fields = fields.parse(lines, 1)?;
        message.structs = fields.resolve(&mut message.fields)?;
        Ok(message)
    }

    /// The first flexible version; `i16::MAX` where none is.
    pub(crate) fn flexible_from(&self) -> i16 {
        if self.flexible.is_empty() { i16::MAX } else { self.flexible.min }
    }

    /// The fewest bytes in which this version of the message, or of a struct in it, can be written.
    pub(crate) fn min_len(&self, fields: &[FieldSpec], version: i16) -> usize {
        let flexible = self.flexible.contains(version);
        let present = fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(version));
        let lens = present.map(|field| match &field.ty {
            Type::Struct(_) if field.nullable.contains(version) => 1,
            ty => self.min_len_of_type(ty, flexible && !field.rigid, version),
        });
        lens.sum::<usize>() + usize::from(flexible)
    }

    /// The fewest bytes of a value of this type.
    pub(crate) fn min_len_of_type(&self, ty: &Type, compact: bool, version: i16) -> usize {
        match ty {
            Type::Bool | Type::Int8 => 1,
            Type::Int16 | Type::Uint16 => 2,
            Type::Int32 | Type::Uint32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
            Type::String if !compact => 2,
            Type::Bytes | Type::Records | Type::Array(_) if !compact => 4,
            Type::String | Type::Bytes | Type::Records | Type::Array(_) => 1,
            Type::Struct(index) => self.min_len(&self.structs[*index].fields, version),
        }
    }

    /// The newest version that is for use.
    pub(crate) fn latest_stable(&self) -> i16 {
        if self.unstable { self.versions.max - 1 } else { self.versions.max }
    }
}

/// Structs gathered while a message's fields are read. Until all are known, a field's struct type holds an index into
/// `wanted`.
#[derive(Default)]
struct RawFields {
    wanted: Vec<String>,
    structs: Vec<StructSpec>,
}

impl RawFields {
    fn parse(&mut self, lines: &mut Lines<'_>, depth: usize) -> Result<Vec<FieldSpec>, String> {
        let mut fields = Vec::new();
        while let Some(line) = lines.next_at(depth) {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            let second = words.next().ok_or("a field has no type")?;
            if first == "struct" {
                let of = versions(words.next().ok_or("a struct has no versions")?)?;
                let inner = self.parse(lines, depth + 1)?;
                self.structs.push(StructSpec { name: second.to_owned(), versions: of, fields: inner });
                continue;
            }
            let mut field = FieldSpec {
                name: first.to_owned(),
                ty: self.ty(second)?,
                versions: versions(words.next().ok_or("a field has no versions")?)?,
                nullable: Versions::NONE,
                tag: None,
                rigid: false,
                default: None,
                key: false,
                ignorable: false,
            };
            for word in words {
                let (name, value) = word.split_once('=').unwrap_or((word, ""));
                match name {
                    "null" => field.nullable = versions(value)?,
                    "tag" => field.tag = Some(value.parse().map_err(|_| format!("no tag: {value}"))?),
                    "rigid" => field.rigid = true,
                    "default" => field.default = Some(value.to_owned()),
                    "key" => field.key = true,
                    "ignorable" => field.ignorable = true,
                    _ => return Err(format!("unknown word {word}")),
                }
            }
            let inner = self.parse(lines, depth + 1)?;
            if !inner.is_empty() {
                let name = second.trim_start_matches("[]").to_owned();
                self.structs.push(StructSpec { name, versions: field.versions, fields: inner });
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn ty(&mut self, text: &str) -> Result<Type, String> {
        Ok(match text {
            "bool" => Type::Bool,
            "int8" => Type::Int8,
            "int16" => Type::Int16,
            "uint16" => Type::Uint16,
            "int32" => Type::Int32,
            "uint32" => Type::Uint32,
            "int64" => Type::Int64,
            "float64" => Type::Float64,
            "uuid" => Type::Uuid,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "records" => Type::Records,
            _ => match text.strip_prefix("[]") {
                Some(element) => Type::Array(Box::new(self.ty(element)?)),
                None if text.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    self.wanted.push(text.to_owned());
                    Type::Struct(self.wanted.len() - 1)
                }
                None => return Err(format!("unknown type {text}")),
            },
        })
    }

    /// Turns indexes into `wanted` into indexes into the structs.
    fn resolve(mut self, top: &mut [FieldSpec]) -> Result<Vec<StructSpec>, String> {
        let mut structs = std::mem::take(&mut self.structs);
        let mut places = Vec::new();
        for name in &self.wanted {
            let place = structs.iter().position(|s| s.name == *name);
            places.push(place.ok_or_else(|| format!("no struct {name}"))?);
        }
        let inner = structs.iter_mut().flat_map(|s| s.fields.iter_mut());
        for field in top.iter_mut().chain(inner) {
            let mut ty = &mut field.ty;
            while let Type::Array(element) = ty {
                ty = element;
            }
            if let Type::Struct(index) = ty {
                *index = places[*index];
            }
        }
        Ok(structs)
    }
}

fn versions(text: &str) -> Result<Versions, String> {
    Versions::parse(text).ok_or_else(|| format!("no range of versions: {text}"))
}

fn number(text: &str) -> Result<i16, String> {
    text.parse().map_err(|_| format!("no number: {text}"))
}

/// Lines with their depth (two blanks each); empty lines and `#` comments are passed over.
struct Lines<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    next: Option<(usize, &'a str)>,
    /// Number of the line taken last.
    last: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Lines<'a> {
        let mut lines = Lines { lines: text.lines().enumerate(), next: None, last: 0 };
        lines.step();
        lines
    }

    fn step(&mut self) {
        self.next = self.lines.by_ref().find(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
    }

    fn peek(&self) -> Option<usize> {
        self.next.map(|(_, line)| (line.len() - line.trim_start().len()) / 2)
    }

    /// The next line, if it has exactly this depth.
    fn next_at(&mut self, depth: usize) -> Option<String> {
        let (number, line) = self.next.filter(|_| self.peek() == Some(depth))?;
        self.last = number + 1;
        self.step();
        Some(line.trim().to_owned())
    }

    fn error(&self, what: String) -> TableError {
        TableError { line: self.last, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Table, String> {
        let mut table = Table::default();
        table.parse(text).map_err(|e| e.to_string())?;
        Ok(table)
    }

    #[test]
    fn nested_and_common_structs_are_found_by_the_fields_that_name_them() {
        let text = "# a comment\ndata M versions=0-2 flexible=1+\n  A []Inner 1+ key\n    X int8 0+\n  B Common 0-1 null=1+ tag=3\n  \
                    struct Common 0+\n    Y []Inner 0+\n";
        let table = parse(text).unwrap();
        let message = &table.messages[0];
        let (a, b) = (&message.fields[0], &message.fields[1]);
        assert_eq!((message.structs.len(), message.flexible_from()), (2, 1));
        assert_eq!(a.ty, Type::Array(Box::new(Type::Struct(0))));
        assert_eq!((message.structs[0].name.as_str(), message.structs[0].versions.min), ("Inner", 1));
        assert_eq!((&b.ty, b.tag, b.nullable.min), (&Type::Struct(1), Some(3), 1));
        assert_eq!(message.structs[1].fields[0].ty, a.ty);
        // One count, compact, and the end of the tagged fields.
        assert_eq!(message.min_len(&message.fields, 1), 2);
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (text, told) in [
            ("record M versions=0", "line 1: unknown kind of message Some(\"record\")"),
            ("data M", "line 1: a message has no versions"),
            ("data M versions=0 flexibel=0", "line 1: unknown word flexibel=0"),
            ("data M versions=0\n  A int128 0+", "line 2: unknown type int128"),
            ("data M versions=0\n  A int8 x", "line 2: no range of versions: x"),
            ("data M versions=0\n  A int8 0+ nul=0", "line 2: unknown word nul=0"),
            ("data M versions=0\n  A Missing 0+", "line 2: no struct Missing"),
            ("data M versions=0\n      A int8 0+", "line 1: a line is indented too far"),
        ] {
            assert_eq!(parse(text).err().as_deref(), Some(told), "{text}");
        }
    }
}
