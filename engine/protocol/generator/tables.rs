//! Writes the table of APIs, the table of errors and the list of messages.

use std::fmt::Write;

use crate::names::snake;
use crate::table::{Kind, Table};

/// The constants of `ApiKey` and the rows of `api_table`.
pub(crate) fn apis(table: &Table) -> String {
    let mut requests: Vec<_> = table.messages.iter().filter(|m| m.kind == Kind::Request).collect();
    requests.sort_by_key(|m| m.api);
    let (mut constants, mut rows) = (String::new(), String::new());
    for request in requests {
        let name = request.name.strip_suffix("Request").unwrap_or(&request.name);
        let constant = snake(name).to_uppercase();
        let key = request.api.unwrap_or_default();
        let _ = writeln!(constants, "/// {name}.\npub const {constant}: ApiKey = ApiKey({key});");
        let _ = writeln!(
            rows,
            "ApiInfo {{ key: ApiKey::{constant}, name: {name:?}, min_version: {}, max_version: {}, min_decodable: {}, \
             flexible_from: {}, on_broker: {}, on_controller: {} }},",
            request.advertised.unwrap_or(request.versions.min),
            request.latest_stable(),
            request.versions.min,
            request.flexible_from(),
            request.on_broker,
            request.on_controller,
        );
    }
    format!(
        "impl ApiKey {{\n{constants}}}\nstatic TABLE: &[ApiInfo] = &[\n{rows}];\n\
         /// All APIs, by ascending key.\n#[must_use]\npub fn api_table() -> &'static [ApiInfo] {{ TABLE }}\n"
    )
}

/// The constants of `ErrorCode` and what is known of each. A line: code, name, perhaps `retriable`, colon, message.
pub(crate) fn errors(text: &str) -> Result<String, String> {
    let (mut constants, mut rows) = (String::new(), String::new());
    for (at, line) in text.lines().enumerate() {
        let bad = || format!("line {}: no error code", at + 1);
        let (head, message) = line.split_once(": ").ok_or_else(bad)?;
        let mut words = head.split(' ');
        let code: i16 = words.next().and_then(|word| word.parse().ok()).ok_or_else(bad)?;
        let name = words.next().ok_or_else(bad)?;
        if usize::try_from(code + 1) != Ok(at) {
            return Err(bad());
        }
        let retriable = words.next() == Some("retriable");
        let _ = writeln!(constants, "/// {message}\npub const {name}: ErrorCode = ErrorCode({code});");
        let _ = writeln!(rows, "ErrorInfo {{ name: {name:?}, message: {message:?}, retriable: {retriable} }},");
    }
    Ok(format!("impl ErrorCode {{\n{constants}}}\npub(crate) static ERRORS: &[ErrorInfo] = &[\n{rows}];\n"))
}

/// A macro that passes the names of all messages to another one.
pub(crate) fn list(table: &Table) -> String {
    let names: Vec<_> = table.messages.iter().map(|m| m.name.as_str()).collect();
    format!(
        "/// Calls a macro with the names of all messages, separated by blanks; for tests.\n#[doc(hidden)]\n#[macro_export]\n\
         macro_rules! with_all_messages {{ ($callback:ident) => {{ $callback! {{ {} }} }} }}\n",
        names.join(" ")
    )
}
