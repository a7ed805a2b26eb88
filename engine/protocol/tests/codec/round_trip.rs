//! What is encoded comes back; the typed codec and the dynamic one, two readings of one table, agree.

use bytes::Bytes;
use kringle_protocol::dynamic::{self, DynamicError, Value};
use kringle_protocol::{EncodeError, Reader};

use crate::support::{every_version, sample};

#[test]
fn random_values_come_back_from_both_codecs_in_every_version() {
    for (typed, version) in every_version() {
        for seed in 0..12 {
            let what = format!("{} {version} seed {seed}", typed.name);
            let (value, bytes) = sample(typed.name, version, seed);
            let mut r = Reader::new(bytes.clone());
            assert_eq!(dynamic::decode(typed.name, version, &mut r).as_ref(), Ok(&value), "{what}");
            assert_eq!(r.remaining(), 0, "{what}");
            let (again, remaining) = (typed.recode)(Reader::new(bytes.clone()), version).expect(&what);
            assert_eq!(again.as_deref(), Ok(&bytes[..]), "{what}");
            assert_eq!(remaining, 0, "{what}");
        }
    }
}

#[test]
fn defaults_are_the_same_in_both_codecs() {
    for (typed, version) in every_version() {
        let defaults = dynamic::default(typed.name, version).unwrap();
        match ((typed.default)(version), dynamic::encode(typed.name, version, &defaults)) {
            (Ok(typed), Ok(dynamic)) => assert_eq!(typed, dynamic),
            // A default may be null where old versions cannot say that.
            (Err(EncodeError::Null { .. }), Err(DynamicError::Encode(EncodeError::Null { .. }))) => {}
            (a, b) => panic!("{} {version}: {a:?}, {b:?}", typed.name),
        }
    }
}

#[test]
fn what_the_caller_does_not_mention_has_its_default() {
    let nothing = Value::Struct(Vec::new());
    for (typed, version) in every_version() {
        let defaults = dynamic::default(typed.name, version).unwrap();
        assert_eq!(
            dynamic::encode(typed.name, version, &nothing).ok(),
            dynamic::encode(typed.name, version, &defaults).ok(),
            "{} {version}",
            typed.name
        );
    }
}

#[test]
fn unknown_tagged_fields_are_passed_over_by_both_codecs() {
    for (typed, version) in every_version() {
        let (value, bytes) = sample(typed.name, version, 3);
        let flexible = dynamic::messages().any(|m| m.name == typed.name && version >= m.flexible_from);
        // Only where the message ends in an empty list of tagged fields can one be added blindly.
        if !flexible || bytes.last() != Some(&0) {
            continue;
        }
        let added = [&bytes[..bytes.len() - 1], &[1, 0xe7, 0x07, 2, 0xaa, 0xbb]].concat();
        let added = Bytes::from(added);
        let Ok(read) = dynamic::decode(typed.name, version, &mut Reader::new(added.clone())) else { continue };
        assert_eq!(read, value, "{} {version}", typed.name);
        let (again, remaining) = (typed.recode)(Reader::new(added), version).unwrap();
        assert_eq!((again.unwrap(), remaining), (bytes.into(), 0), "{} {version}", typed.name);
    }
}

#[test]
fn values_that_do_not_fit_are_refused_by_name() {
    let request = |name: &str, value| Value::Struct(vec![(name.to_owned(), value)]);
    let encode = |value| dynamic::encode("FetchRequest", 12, &value);
    assert_eq!(encode(request("maxWait", Value::Int(1))), Err(DynamicError::UnknownField("maxWait".to_owned())));
    let misfit = |value: &str| Err(DynamicError::Misfit { field: "MaxWaitMs", value: value.to_owned() });
    assert_eq!(encode(request("maxWaitMs", Value::Int(1 << 31))), misfit("2147483648"));
    assert_eq!(encode(request("maxWaitMs", Value::Bool(true))), misfit("true"));
    let null = DynamicError::Encode(EncodeError::Null { field: "MaxWaitMs" });
    assert_eq!(encode(request("maxWaitMs", Value::Null)), Err(null));
    assert_eq!(dynamic::encode("Fetch", 12, &Value::Null), Err(DynamicError::UnknownMessage("Fetch".to_owned())));
}

#[test]
fn values_are_shown_as_json() {
    let value =
        dynamic::decode("SaslHandshakeResponse", 1, &mut Reader::new(Bytes::from_static(b"\0\x21\0\0\0\x01\0\x02a\"")));
    assert_eq!(value.unwrap().to_string(), r#"{"errorCode": 33, "mechanisms": ["a\""]}"#);
}
