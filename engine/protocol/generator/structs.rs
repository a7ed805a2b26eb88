//! Writes the Rust struct, its defaults and its codec for each message and each struct in it.

use std::fmt::Write;

use crate::names::{field as field_name, snake};
use crate::table::{FieldSpec, Kind, MessageSpec, StructSpec, Table, Type, Versions};

/// The modules of all messages.
pub(crate) fn all(table: &Table) -> String {
    let mut out = String::new();
    for message in &table.messages {
        let module = snake(&message.name);
        line(&mut out, format_args!("/// [`{0}`]({module}::{0}) and its structs.", message.name));
        line(&mut out, format_args!("pub mod {module} {{\nuse super::super::prelude::*;"));
        module_of(message, &mut out);
        line(&mut out, format_args!("}}"));
    }
    out.push_str("/// Every message, by Kafka's name.\npub mod messages {\n");
    for message in &table.messages {
        line(&mut out, format_args!("pub use super::{}::{};", snake(&message.name), message.name));
    }
    out.push_str("}\n");
    out
}

fn module_of(message: &MessageSpec, out: &mut String) {
    let top = Struct { message, name: &message.name, versions: message.versions, fields: &message.fields };
    top.generate(out);
    for StructSpec { name, versions, fields } in &message.structs {
        Struct { message, name, versions: versions.intersect(message.versions), fields }.generate(out);
        line(out, format_args!("impl Nullable for {name} {{}}"));
    }
    let Versions { min, max } = message.versions;
    let flexible_from = message.flexible_from();
    let name = &message.name;
    line(
        out,
        format_args!(
            "impl Message for {name} {{\nconst NAME: &'static str = {name:?};\n\
             const VERSIONS: RangeInclusive<i16> = {min}..={max};\nconst FLEXIBLE_FROM: i16 = {flexible_from};\n}}"
        ),
    );
    if let (Kind::Request, Some(key)) = (message.kind, message.api) {
        let api = name.strip_suffix("Request").unwrap_or(name);
        line(
            out,
            format_args!(
                "impl Request for {name} {{\nconst API_KEY: ApiKey = ApiKey({key});\n\
                 type Response = super::{}_response::{api}Response;\n}}",
                snake(api)
            ),
        );
    }
}

/// A message or a struct in it, with the versions in which it occurs.
struct Struct<'a> {
    message: &'a MessageSpec,
    name: &'a str,
    versions: Versions,
    fields: &'a [FieldSpec],
}

impl Struct<'_> {
    fn generate(&self, out: &mut String) {
        self.definition(out);
        self.default(out);
        line(out, format_args!("impl Codec for {} {{", self.name));
        self.min_len(out);
        self.read(out);
        self.write(out);
        line(out, format_args!("}}"));
    }

    fn definition(&self, out: &mut String) {
        if self.name == self.message.name {
            line(out, format_args!("/// Versions {}.", range(self.versions)));
        } else {
            line(out, format_args!("/// Part of [`{}`], versions {}.", self.message.name, range(self.versions)));
        }
        let derived = if self.fields.iter().all(|f| self.default_is_rusts(f)) { ", Default" } else { "" };
        line(out, format_args!("#[derive(Debug, Clone, PartialEq{derived})]\npub struct {} {{", self.name));
        for field in self.fields {
            line(out, format_args!("/// {}", facts(field)));
            line(out, format_args!("pub {}: {},", field_name(&field.name), self.rust_type(field)));
        }
        line(out, format_args!("}}"));
    }

    fn default(&self, out: &mut String) {
        if self.fields.iter().all(|f| self.default_is_rusts(f)) {
            return;
        }
        line(out, format_args!("impl Default for {0} {{\nfn default() -> {0} {{\n{0} {{", self.name));
        for field in self.fields {
            line(out, format_args!("{}: {},", field_name(&field.name), self.default_value(field)));
        }
        line(out, format_args!("}}\n}}\n}}"));
    }

    /// One arm per run of versions of equal minimal length.
    fn min_len(&self, out: &mut String) {
        line(out, format_args!("fn min_len(c: Ctx) -> usize {{\nmatch c.version {{"));
        let mut runs: Vec<(i16, usize)> = Vec::new();
        for version in self.versions.iter() {
            let len = self.message.min_len(self.fields, version);
            match runs.last_mut() {
                Some((last, known)) if *known == len => *last = version,
                _ => runs.push((version, len)),
            }
        }
        let (_, rest) = runs.pop().unwrap_or((0, 1));
        for (last, len) in runs {
            line(out, format_args!("..={last} => {len},"));
        }
        line(out, format_args!("_ => {rest},\n}}\n}}"));
    }

    fn read(&self, out: &mut String) {
        line(out, format_args!("fn read(r: &mut Reader, c: Ctx) -> Result<Self, DecodeError> {{\nlet v = c.version;"));
        let tagged: Vec<_> = self.fields.iter().filter(|f| f.tag.is_some()).collect();
        let flexible = !self.versions.intersect(self.message.flexible).is_empty();
        line(out, format_args!("let {}m = {} {{", if tagged.is_empty() { "" } else { "mut " }, self.name));
        for field in self.fields {
            let value = match (field.tag, self.when(field.versions)) {
                (Some(_), _) | (None, When::Never) => self.default_value(field),
                (None, When::Always) => self.read_field(field),
                (None, When::If(condition)) => {
                    format!("if {condition} {{ {} }} else {{ {} }}", self.read_field(field), self.default_value(field))
                }
            };
            line(out, format_args!("{}: {value},", field_name(&field.name)));
        }
        line(out, format_args!("}};"));
        if !tagged.is_empty() {
            line(
                out,
                format_args!("if c.flexible {{\nfor _ in 0..r.uvarint()? {{\nlet (tag, end) = r.tag()?;\nmatch tag {{"),
            );
            for field in tagged {
                let guard = match self.when(field.versions) {
                    When::Always => String::new(),
                    When::If(condition) => format!(" if {condition}"),
                    When::Never => continue,
                };
                let (name, tag) = (field_name(&field.name), field.tag.unwrap_or_default());
                line(out, format_args!("{tag}{guard} => m.{name} = {},", self.read_field(field)));
            }
            line(out, format_args!("_ => r.skip_to(end),\n}}\nr.tag_ended(tag, end)?;\n}}\n}}"));
        } else if flexible {
            line(out, format_args!("r.skip_tags(c)?;"));
        }
        line(out, format_args!("Ok(m)\n}}"));
    }

    fn read_field(&self, field: &FieldSpec) -> String {
        let c = form(field);
        let nullable = format!("r.get({c})?");
        if field.tag.is_some() && matches!(field.ty, Type::Struct(_)) && self.is_option(field) {
            return "r.tagged_struct(c)?".to_owned();
        }
        match (&field.ty, self.nullable(field)) {
            (Type::Records, When::Never) => format!("r.records({c})?"),
            (Type::Records, _) | (_, When::Never | When::Always) => nullable,
            (_, When::If(condition)) => format!("if {condition} {{ {nullable} }} else {{ Some({nullable}) }}"),
        }
    }

    fn write(&self, out: &mut String) {
        line(
            out,
            format_args!("fn write(&self, w: &mut Writer, c: Ctx) -> Result<(), EncodeError> {{\nlet v = c.version;"),
        );
        for field in self.fields {
            let name = field_name(&field.name);
            let refuse =
                format!("return Err(EncodeError::NotInVersion {{ field: {:?}, version: v }});", snake(&field.name));
            let said = self.differs_from_default(field);
            let put = if field.tag.is_some() { String::new() } else { self.write_field(field, &name) };
            match (self.when(field.versions), field.ignorable) {
                (When::Always, _) => line(out, format_args!("{put}")),
                (When::If(condition), true) if put.is_empty() => drop(condition),
                (When::If(condition), true) => line(out, format_args!("if {condition} {{ {put} }}")),
                (When::If(condition), false) if put.is_empty() => {
                    line(out, format_args!("if !({condition}) && {said} {{ {refuse} }}"));
                }
                (When::If(condition), false) => {
                    line(out, format_args!("if {condition} {{ {put} }} else if {said} {{ {refuse} }}"));
                }
                (When::Never, true) => {}
                (When::Never, false) => line(out, format_args!("if {said} {{ {refuse} }}")),
            }
        }
        self.write_tags(out);
        line(out, format_args!("Ok(())\n}}"));
    }

    fn write_field(&self, field: &FieldSpec, name: &str) -> String {
        let c = form(field);
        let put = format!("w.put(&self.{name}, {c})?;");
        let label = snake(&field.name);
        match (&field.ty, self.nullable(field)) {
            (Type::Records, When::Never) => {
                format!("if self.{name}.is_null() {{ return Err(EncodeError::Null {{ field: {label:?} }}); }} {put}")
            }
            (Type::Records, _) | (_, When::Never | When::Always) => put,
            (_, When::If(condition)) => {
                format!("if {condition} {{ {put} }} else {{ w.put_some(&self.{name}, {c}, {label:?})?; }}")
            }
        }
    }

    /// Tagged fields follow in the order of their tags; those that say the default are left out.
    fn write_tags(&self, out: &mut String) {
        if self.versions.intersect(self.message.flexible).is_empty() {
            return;
        }
        let mut tagged: Vec<_> = self.fields.iter().filter(|f| f.tag.is_some()).collect();
        tagged.sort_by_key(|f| f.tag);
        line(out, format_args!("if c.flexible {{"));
        let mut count = "0".to_owned();
        for field in &tagged {
            let tag = field.tag.unwrap_or_default();
            let said = self.differs_from_default(field);
            match self.when(field.versions) {
                When::Always => line(out, format_args!("let t{tag} = {said};")),
                When::If(condition) => line(out, format_args!("let t{tag} = {condition} && {said};")),
                When::Never => line(out, format_args!("let t{tag} = false;")),
            }
            let _ = write!(count, " + u32::from(t{tag})");
        }
        line(out, format_args!("w.uvarint({count});"));
        for field in &tagged {
            let (name, tag) = (field_name(&field.name), field.tag.unwrap_or_default());
            let put = if matches!(field.ty, Type::Struct(_)) && self.is_option(field) { "tag_struct" } else { "tag" };
            line(out, format_args!("if t{tag} {{ w.{put}({tag}, &self.{name}, c)?; }}"));
        }
        line(out, format_args!("}}"));
    }

    fn rust_type(&self, field: &FieldSpec) -> String {
        let ty = self.type_name(&field.ty);
        if self.is_option(field) { format!("Option<{ty}>") } else { ty }
    }

    fn type_name(&self, ty: &Type) -> String {
        match ty {
            Type::Bool => "bool".to_owned(),
            Type::Int8 => "i8".to_owned(),
            Type::Int16 => "i16".to_owned(),
            Type::Uint16 => "u16".to_owned(),
            Type::Int32 => "i32".to_owned(),
            Type::Uint32 => "u32".to_owned(),
            Type::Int64 => "i64".to_owned(),
            Type::Float64 => "f64".to_owned(),
            Type::Uuid => "Uuid".to_owned(),
            Type::String => "String".to_owned(),
            Type::Bytes => "Bytes".to_owned(),
            Type::Records => "Records".to_owned(),
            Type::Array(element) => format!("Vec<{}>", self.type_name(element)),
            Type::Struct(index) => self.message.structs[*index].name.clone(),
        }
    }

    /// [`Type::Records`] has its own null.
    fn is_option(&self, field: &FieldSpec) -> bool {
        !field.nullable.is_empty() && field.ty != Type::Records
    }

    /// In which of the field's versions it may be null.
    fn nullable(&self, field: &FieldSpec) -> When {
        let present = field.versions.intersect(self.versions);
        when(present, field.nullable)
    }

    fn when(&self, versions: Versions) -> When {
        when(self.versions, versions)
    }

    fn default_is_rusts(&self, field: &FieldSpec) -> bool {
        if self.is_option(field) {
            field.default.as_deref() == Some("null")
        } else {
            field.default.is_none() || field.ty == Type::Records
        }
    }

    fn default_value(&self, field: &FieldSpec) -> String {
        let plain = match (&field.ty, field.default.as_deref()) {
            (Type::Records, _) => "Records::Null".to_owned(),
            (_, Some("null")) => return "None".to_owned(),
            (Type::Bool, default) => default.unwrap_or("false").to_owned(),
            (Type::Float64, default) => format!("{}f64", default.unwrap_or("0")),
            (Type::String, Some(default)) => format!("{default:?}.to_owned()"),
            (Type::Uuid, _) => "Uuid::ZERO".to_owned(),
            (Type::String | Type::Bytes | Type::Array(_), _) => format!("{}::new()", short(&self.type_name(&field.ty))),
            (Type::Struct(_), _) => format!("{}::default()", self.type_name(&field.ty)),
            (_, default) => default.unwrap_or("0").to_owned(),
        };
        if self.is_option(field) { format!("Some({plain})") } else { plain }
    }

    /// A condition: the field says something else than its default.
    fn differs_from_default(&self, field: &FieldSpec) -> String {
        let name = format!("self.{}", field_name(&field.name));
        let default = field.default.as_deref();
        match &field.ty {
            Type::Records => format!("!{name}.is_null()"),
            _ if default == Some("null") => format!("{name}.is_some()"),
            Type::String if default.is_some() => {
                format!("{name} != {default:?}", default = default.unwrap_or_default())
            }
            Type::String | Type::Bytes | Type::Array(_) if self.is_option(field) => {
                format!("{name}.as_ref().is_none_or(|x| !x.is_empty())")
            }
            Type::String | Type::Bytes | Type::Array(_) => format!("!{name}.is_empty()"),
            Type::Bool if default != Some("true") => name,
            _ => format!("{name} != {}", self.default_value(field)),
        }
    }
}

/// When a condition on the version holds.
enum When {
    Always,
    If(String),
    Never,
}

/// `wanted` as a condition on versions that are known to lie in `within`.
fn when(within: Versions, wanted: Versions) -> When {
    let both = within.intersect(wanted);
    if both.is_empty() {
        return When::Never;
    }
    match (both.min > within.min, both.max < within.max) {
        (false, false) => When::Always,
        (true, false) => When::If(format!("v >= {}", both.min)),
        (false, true) => When::If(format!("v <= {}", both.max)),
        (true, true) => When::If(format!("({}..={}).contains(&v)", both.min, both.max)),
    }
}

fn form(field: &FieldSpec) -> &'static str {
    if field.rigid { "c.rigid()" } else { "c" }
}

/// `Vec<..>` as the start of a path.
fn short(ty: &str) -> &str {
    ty.split('<').next().unwrap_or(ty)
}

fn range(versions: Versions) -> String {
    match versions {
        Versions { min, max: i16::MAX } => format!("{min}+"),
        Versions { min, max } if min == max => format!("{min}"),
        Versions { min, max } => format!("{min}-{max}"),
    }
}

/// One line of documentation.
fn facts(field: &FieldSpec) -> String {
    let mut text = format!("Versions {}", range(field.versions));
    if !field.nullable.is_empty() {
        let _ = write!(text, ", null in {}", range(field.nullable));
    }
    if let Some(tag) = field.tag {
        let _ = write!(text, ", tag {tag}");
    }
    if let Some(default) = &field.default {
        let _ = write!(text, ", default {default}");
    }
    if field.ignorable {
        text.push_str(", left out elsewhere");
    }
    text.push('.');
    text
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
    out.push('\n');
}
