//! All settings and what each does here, as a page: what `kringle --list-settings` prints and `docs/settings.md` says.

use std::fmt::Write;

use super::table::{self, Dynamic, Setting, Status, Table};
use super::value::ConfigType;

/// The page.
pub fn list_settings() -> String {
    let parts: [(&str, &Table); 5] = [
        ("Kringle's own", table::kringle()),
        ("Brokers", table::broker()),
        ("Topics", table::topic()),
        ("Groups", table::group()),
        ("Subscriptions to metrics of clients", table::client_metrics()),
    ];
    let mut page = String::from(HEAD);
    for (title, table) in parts {
        let count = |is: fn(Status) -> bool| table.iter().filter(|setting| is(setting.status)).count();
        let counts = [
            ("act", count(|status| status == Status::Acts)),
            ("act in part", count(|status| matches!(status, Status::Partly(_)))),
            ("do nothing yet", count(|status| status == Status::Accepted)),
            ("have no meaning here", count(|status| status == Status::Meaningless)),
        ];
        let counts: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}")).collect();
        line(&mut page, &format!("\n## {title}\n\n{}.\n", counts.join(", ")));
        line(&mut page, "| Setting | Default | May change | Here |");
        line(&mut page, "|---|---|---|---|");
        let mut settings: Vec<&Setting> = table.iter().collect();
        settings.sort_unstable_by_key(|setting| setting.name);
        for setting in settings {
            line(&mut page, &row(setting));
        }
    }
    page
}

const HEAD: &str = "\
# Settings

Every setting of Apache Kafka 4.3.1, and Kringle's own. All are checked, kept and shown as Kafka does; this page says what
they do. It is made by `kringle --list-settings > docs/settings.md`, from the tables in `server/src/config/tables`.

- **acts**: what Kafka's documentation says.
- **in part**: some of that; the page says what.
- **nothing yet**: it may be set, and changes nothing. The broker names such settings of its file when it starts.
- **no meaning here**: it speaks of what Kringle does not have, like threads of a JVM. Named likewise.
";

fn row(setting: &Setting) -> String {
    let default = match &setting.default {
        None if setting.required => "must be given".to_owned(),
        None => String::new(),
        Some(_) if setting.kind == ConfigType::Password => String::new(),
        Some(default) if default.is_empty() => String::new(),
        Some(default) => format!("`{}`", default.replace('|', "\\|")),
    };
    let changes = match setting.dynamic {
        Dynamic::ReadOnly => "at start",
        Dynamic::PerBroker => "while running, per broker",
        Dynamic::ClusterWide => "while running",
        Dynamic::Topic | Dynamic::Group | Dynamic::ClientMetrics => "at any time",
    };
    let status = match setting.status {
        Status::Acts => "acts".to_owned(),
        Status::Partly(what) => format!("in part: {what}"),
        Status::Accepted => "nothing yet".to_owned(),
        Status::Meaningless => "no meaning here".to_owned(),
    };
    format!("| `{}` | {default} | {changes} | {status} |", setting.name)
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{text}").expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let committed = include_str!("../../../docs/settings.md");
        let first = committed
            .lines()
            .zip(list_settings().lines())
            .find(|(is, should)| is != should)
            .map(|(is, should)| format!("\n is: {is}\n should be: {should}"));
        assert!(
            committed == list_settings(),
            "run: kringle --list-settings > docs/settings.md{}",
            first.unwrap_or_default()
        );
    }
}
