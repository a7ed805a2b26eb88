//! Reads the table of messages and writes the Rust code for it.

#[path = "generator/names.rs"]
mod names;
#[path = "generator/records.rs"]
mod records;
#[path = "generator/structs.rs"]
mod structs;
#[path = "src/table.rs"]
mod table;
#[path = "generator/tables.rs"]
mod tables;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[allow(clippy::disallowed_methods, reason = "a build script has no runtime")]
fn main() -> Result<(), Box<dyn Error>> {
    for input in ["messages", "generator", "build.rs", "src/table.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let mut messages = table::Table::default();
    let mut sources = String::new();
    for path in files(Path::new("messages"))? {
        let text = fs::read_to_string(&path)?;
        // The text itself: a path would name this checkout, and the target directory may be another's tomorrow.
        sources += &format!("{text:?},\n");
        messages.parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let sources = format!("/// The text of the table.\npub(crate) static SOURCES: &[&str] = &[\n{sources}];\n");
    let errors = tables::errors(&fs::read_to_string("errors.txt")?).map_err(|e| format!("errors.txt: {e}"))?;
    let code = format!(
        "pub(crate) mod prelude {{\npub(crate) use std::ops::RangeInclusive;\npub(crate) use bytes::{{Bytes, BytesMut}};\n\
         pub(crate) use crate::{{ApiKey, Codec, Ctx, DecodeError, EncodeError, Message, Nullable, Reader, Records, \
         Request, Uuid, Writer}};\n}}\n\
         pub(crate) mod structs {{\n{}}}\n\
         pub(crate) mod metadata_record {{\nuse super::{{prelude::*, structs::messages::*}};\n{}}}\n\
         pub(crate) mod coordinator_records {{\nuse crate::coordinator_records::RecordKey;\n\
         use super::{{prelude::*, structs::messages::*}};\n{}}}\n\
         pub(crate) mod apis {{\nuse crate::api_key::{{ApiInfo, ApiKey}};\n{}}}\n\
         pub(crate) mod errors {{\nuse crate::error_code::{{ErrorCode, ErrorInfo}};\n{errors}}}\n{sources}{}",
        structs::all(&messages),
        records::metadata(&messages),
        records::coordinators(&messages),
        tables::apis(&messages),
        tables::list(&messages),
    );
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("generated.rs"), code)?;
    Ok(())
}

/// All files below a directory, sorted.
#[allow(clippy::disallowed_methods, reason = "a build script has no runtime")]
fn files(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
