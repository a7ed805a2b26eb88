//! Rust's names for Kafka's.

/// Words that cannot name a field.
const KEYWORDS: &[&str] = &["type", "match", "ref", "move", "use", "loop", "impl", "trait", "in", "as", "box", "yield"];

/// `PartitionIndex` -> `partition_index`, `KRaftVersion` -> `kraft_version`, `ISRNodes` -> `isr_nodes`.
pub(crate) fn snake(name: &str) -> String {
    let chars: Vec<char> = name.replace("KRaft", "Kraft").chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_small = i > 0 && !chars[i - 1].is_ascii_uppercase();
        let before_small = i > 0 && chars.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if c.is_ascii_uppercase() && (after_small || before_small) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A field's name, escaped where Rust needs the word.
pub(crate) fn field(name: &str) -> String {
    let name = snake(name);
    if KEYWORDS.contains(&name.as_str()) { format!("r#{name}") } else { name }
}
