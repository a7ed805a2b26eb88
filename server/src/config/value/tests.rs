use super::*;

fn refused(kind: ConfigType, validator: &'static str, name: &str, raw: &str) -> String {
    let validator = Validator::read(validator).unwrap();
    let result = kind.parse(name, raw).and_then(|value| validator.check(name, &value));
    result.expect_err(raw).to_string()
}

fn accepted(kind: ConfigType, validator: &'static str, raw: &str) -> String {
    let value = kind.parse("x", raw).unwrap();
    Validator::read(validator).unwrap().check("x", &value).unwrap();
    value.to_string()
}

#[test]
fn numbers_are_refused_in_kafkas_words() {
    use ConfigType::{Double, Int, Long, Short};
    let segment = |raw| refused(Int, "at-least 1048576", "segment.bytes", raw);
    assert_eq!(segment("-1"), "Invalid value -1 for configuration segment.bytes: Value must be at least 1048576");
    assert_eq!(segment(" x "), "Invalid value  x  for configuration segment.bytes: Not a number of type INT");
    assert_eq!(segment(""), "Invalid value  for configuration segment.bytes: Not a number of type INT");
    assert_eq!(
        segment("99999999999"),
        "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT"
    );
    assert_eq!(
        refused(Long, "at-least -1", "r", "1.5"),
        "Invalid value 1.5 for configuration r: Not a number of type LONG"
    );
    assert_eq!(
        refused(Short, "-", "r", "40000"),
        "Invalid value 40000 for configuration r: Not a number of type SHORT"
    );
    assert_eq!(
        refused(Double, "between 0 1", "m", "2"),
        "Invalid value 2.0 for configuration m: Value must be no more than 1"
    );
    assert_eq!(
        refused(Double, "between 0 0.5", "m", "-0.1"),
        "Invalid value -0.1 for configuration m: Value must be at least 0"
    );
    assert_eq!(refused(Double, "-", "m", "inf"), "Invalid value inf for configuration m: Not a number of type DOUBLE");
    assert_eq!(
        refused(Int, "gzip-level", "g", "0"),
        "Invalid value 0 for configuration g: Value must be between 1 and 9 or equal to -1"
    );
}

#[test]
fn numbers_are_read_and_shown_as_java_does() {
    assert_eq!(accepted(ConfigType::Long, "at-least -1", "+7"), "7");
    assert_eq!(accepted(ConfigType::Int, "-", " 0536870912 "), "536870912");
    let shown = [
        ("1", "1.0"),
        ("0.001", "0.001"),
        ("0.0001", "1.0E-4"),
        ("1e7", "1.0E7"),
        ("15000000", "1.5E7"),
        ("123456.789", "123456.789"),
        ("9999999", "9999999.0"),
        ("12345678.9", "1.23456789E7"),
        ("1.7976931348623157E308", "1.7976931348623157E308"),
        ("0.5d", "0.5"),
        ("0", "0.0"),
        ("NaN", "NaN"),
    ];
    for (raw, java) in shown {
        assert_eq!(accepted(ConfigType::Double, "-", raw), java);
    }
}

#[test]
fn booleans_know_no_case() {
    assert_eq!(accepted(ConfigType::Boolean, "-", " TRUE "), "true");
    assert_eq!(
        refused(ConfigType::Boolean, "-", "preallocate", "maybe"),
        "Invalid value maybe for configuration preallocate: Expected value to be either true or false"
    );
}

#[test]
fn lists_are_refused_in_kafkas_words() {
    let policy = |raw| refused(ConfigType::List, "list empty compact delete", "p", raw);
    assert_eq!(policy("delete, foo"), "Invalid value foo for configuration p: String must be one of: compact, delete");
    assert_eq!(policy("delete,,compact"), "Configuration 'p' values must not be empty.");
    let filled = |of| refused(ConfigType::List, of, "p", " ");
    assert_eq!(filled("list filled a b"), "Configuration 'p' must not be empty. Valid values include: [a, b]");
    assert_eq!(
        filled("list filled-or-null"),
        "Configuration 'p' must not be empty. Valid values include: any non-empty value"
    );
    assert_eq!(accepted(ConfigType::List, "list empty compact delete", " compact , delete"), "compact,delete");
    assert_eq!(accepted(ConfigType::List, "list empty compact delete", ""), "");
}

#[test]
fn strings_are_refused_in_kafkas_words() {
    let text = |validator, raw| refused(ConfigType::String, validator, "s", raw);
    assert_eq!(text("one-of a b", "A"), "Invalid value A for configuration s: String must be one of: a, b");
    assert_eq!(
        text("one-of-any-case A B", "x"),
        "Invalid value x for configuration s: String must be one of (case insensitive): A, B"
    );
    assert_eq!(accepted(ConfigType::String, "one-of-any-case Upgrade", "uPGRADE"), "uPGRADE");
    assert_eq!(text("non-empty", " "), "Invalid value  for configuration s: String must be non-empty");
}

#[test]
fn throttled_replicas_are_all_or_pairs() {
    let form = "[partitionId]:[brokerId],[partitionId]:[brokerId],...";
    for raw in ["foo", "0:1,1:x", "*,0:1", "0 : 1", "none"] {
        let shown = raw.replace(',', ", ");
        assert_eq!(
            refused(ConfigType::List, "throttled-replicas", "t", raw),
            format!(
                "Invalid value [{shown}] for configuration t: t must be the literal '*' or a list of replicas \
                 in the following format: {form}"
            )
        );
    }
    for raw in ["", "*", "0:1, 2:3"] {
        accepted(ConfigType::List, "throttled-replicas", raw);
    }
}

#[test]
fn quorum_addresses_are_checked() {
    let voters = |raw| refused(ConfigType::List, "quorum-voters", "v", raw);
    let form = "Each entry should be in the form `{id}@{host}:{port}`.";
    assert_eq!(voters("x"), format!("Invalid configuration value for v. {form}"));
    assert_eq!(voters("a@h:1"), "Failed to parse voter ID as an integer from a");
    assert_eq!(voters("1@h"), format!("Failed to parse host name from entry 1@h for the configuration v. {form}"));
    accepted(ConfigType::List, "quorum-voters", "1@h:9,2@[::1]:1");
    assert_eq!(
        refused(ConfigType::List, "quorum-bootstrap", "b", "x"),
        "Failed to parse host name from x for the configuration b. Each entry should be in the form \"{host}:{port}\""
    );
    accepted(ConfigType::List, "quorum-bootstrap", "localhost:9093");
}

#[test]
fn share_offset_resets_are_words_or_durations() {
    for raw in ["earliest", "latest", "by_duration:PT1H", "by_duration:P1DT2H3M4.5S", "by_duration:P2D"] {
        accepted(ConfigType::String, "share-offset-reset", raw);
    }
    for raw in
        ["EARLIEST", "by_duration:x", "by_duration:-PT1H", "by_duration:P", "by_duration:P1DT", "by_duration:PT1H2"]
    {
        let form = "The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.";
        assert_eq!(
            refused(ConfigType::String, "share-offset-reset", "s", raw),
            format!("Invalid value {raw} for configuration s: Invalid value `{raw}` for configuration s. {form}")
        );
    }
}
