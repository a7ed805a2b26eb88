//! Writes the enums over the records of the metadata log and of the coordinators' topics.

use std::fmt::Write;

use crate::table::{Kind, MessageSpec, Table};

/// `MetadataRecord`.
pub(crate) fn metadata(table: &Table) -> String {
    let mut records: Vec<_> = table.messages.iter().filter(|m| m.kind == Kind::Metadata).collect();
    records.sort_by_key(|m| m.api);
    let mut out = enumeration("MetadataRecord", "A record of the metadata log.", &records);
    let (mut types, mut encoders, mut decoders) = (String::new(), String::new(), String::new());
    for MessageSpec { name, api, .. } in &records {
        let api = api.unwrap_or_default();
        let _ = writeln!(types, "MetadataRecord::{name}(_) => {api},");
        let _ = writeln!(encoders, "MetadataRecord::{name}(record) => record.encode(w, version),");
        let _ = writeln!(decoders, "{api} => {name}::decode(r, version).map(MetadataRecord::{name}),");
    }
    let _ = writeln!(
        out,
        "impl MetadataRecord {{\n\
         /// Kafka's number of the record's type.\n#[must_use]\npub fn record_type(&self) -> i16 {{ match self {{\n{types}}} }}\n\
         pub(crate) fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {{ match self {{\n{encoders}}} }}\n\
         pub(crate) fn decode(record_type: u32, r: &mut Reader, version: i16) -> Result<MetadataRecord, DecodeError> {{ \
         match record_type {{\n{decoders}other => Err(DecodeError::RecordType(other.into())),\n}} }}\n}}"
    );
    out
}

/// `GroupRecordKey` and its like, and which value belongs to which key.
pub(crate) fn coordinators(table: &Table) -> String {
    let mut out = String::new();
    for (coordinator, name, doc) in [
        ("group", "GroupRecordKey", "Key of a record in `__consumer_offsets`."),
        ("transaction", "TransactionRecordKey", "Key of a record in `__transaction_state`."),
        ("share_state", "ShareStateRecordKey", "Key of a record in `__share_group_state`."),
    ] {
        let of_it = |m: &&MessageSpec| m.kind == Kind::Key && m.coordinator.as_deref() == Some(coordinator);
        let mut keys: Vec<_> = table.messages.iter().filter(of_it).collect();
        keys.sort_by_key(|m| m.api);
        out.push_str(&enumeration(name, doc, &keys));
        let (mut encoders, mut decoders) = (String::new(), String::new());
        for MessageSpec { name: key, api, .. } in &keys {
            let api = api.unwrap_or_default();
            let value = key.replace("Key", "Value");
            let _ = writeln!(
                out,
                "impl RecordKey for {key} {{\nconst RECORD_TYPE: i16 = {api};\ntype Value = {value};\n}}"
            );
            let _ = writeln!(encoders, "{name}::{key}(key) => key.encode_key(),");
            let _ = writeln!(decoders, "{api} => {key}::decode(&mut r, 0).map({name}::{key}),");
        }
        let _ = writeln!(
            out,
            "impl {name} {{\n\
             /// Reads a record's key: its type (two bytes), and what that type has.\n///\n/// # Errors\n\
             /// [`DecodeError::RecordType`] for a type that Kafka 4.3.1 does not know, which a reader should pass over;\n\
             /// otherwise the bytes are not such a key.\n\
             pub fn decode(key: Bytes) -> Result<{name}, DecodeError> {{\nlet mut r = Reader::new(key);\nmatch r.i16()? {{\n\
             {decoders}other => Err(DecodeError::RecordType(other.into())),\n}}\n}}\n\
             /// Writes the key as [`{name}::decode`] reads it.\n///\n/// # Errors\n/// A string is too long.\n\
             pub fn encode(&self) -> Result<BytesMut, EncodeError> {{ match self {{\n{encoders}}} }}\n}}"
        );
    }
    out
}

/// An enum with one variant per message, named like it, and a `From` for each.
fn enumeration(name: &str, doc: &str, messages: &[&MessageSpec]) -> String {
    let mut out = format!("/// {doc}\n#[derive(Debug, Clone, PartialEq)]\npub enum {name} {{\n");
    for MessageSpec { name: variant, api, .. } in messages {
        let _ = writeln!(out, "/// Type {}.\n{variant}({variant}),", api.unwrap_or_default());
    }
    out.push_str("}\n");
    for MessageSpec { name: variant, .. } in messages {
        let _ = writeln!(
            out,
            "impl From<{variant}> for {name} {{\nfn from(record: {variant}) -> {name} {{ {name}::{variant}(record) }}\n}}"
        );
    }
    out
}
