use super::*;

const DEFAULT_MAP: &str = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT";

fn given(listeners: &str, advertised: Option<&str>) -> Given {
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    Given {
        listeners: list(listeners),
        advertised: advertised.map(list),
        protocol_map: (DEFAULT_MAP.to_owned(), false),
        controller_names: vec!["CONTROLLER".to_owned()],
        inter_broker_name: None,
        inter_broker_protocol: None,
    }
}

fn refused(given: Given) -> String {
    given.parse().expect_err("it must be refused").to_string()
}

#[test]
fn several_listeners_have_names_hosts_and_ports() {
    let mut all = given("PLAINTEXT://:9092,inside://10.0.0.1:0,SIX://[::1]:19092,CONTROLLER://localhost:9093", None);
    all.protocol_map = ("PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT,six:plaintext,CONTROLLER:PLAINTEXT".to_owned(), true);
    let listeners = all.parse().unwrap();
    let shown: Vec<_> = listeners.broker.iter().map(|l| (l.name.as_str(), l.host.as_deref(), l.port)).collect();
    assert_eq!(shown, [("PLAINTEXT", None, 9092), ("INSIDE", Some("10.0.0.1"), 0), ("SIX", Some("::1"), 19092)]);
    assert_eq!(listeners.controller[0].name, "CONTROLLER");
    assert!(listeners.broker.iter().all(|l| l.advertised));
}

#[test]
fn clients_are_told_the_advertised_address() {
    let mut all = given("PLAINTEXT://0.0.0.0:9092,IN://:9094", Some("PLAINTEXT://kafka.example:19092"));
    all.protocol_map = ("PLAINTEXT:PLAINTEXT,IN:PLAINTEXT".to_owned(), true);
    let listeners = all.parse().unwrap().broker;
    assert_eq!((listeners[0].advertised_host.as_str(), listeners[0].advertised_port), ("kafka.example", 19092));
    assert_eq!((listeners[0].advertised, listeners[1].advertised), (true, false));
    assert!(!listeners[0].advertises_own_name);
}

#[test]
fn a_listener_on_all_interfaces_advertises_the_machines_name() {
    let listeners = given("PLAINTEXT://:9092", None).parse().unwrap().broker;
    assert!(listeners[0].advertises_own_name);
    assert_eq!(listeners[0].advertised_host, "localhost");
    let refused = refused(given("PLAINTEXT://0.0.0.0:9092", None));
    assert_eq!(refused, "advertised.listeners=PLAINTEXT://0.0.0.0:9092: must be an address which clients can reach");
}

#[test]
fn malformed_doubled_or_clashing_listeners_are_refused() {
    let listeners = |text| refused(given(text, None));
    for text in
        ["PLAINTEXT", "PLAINTEXT://", "PLAINTEXT://host", "://host:1", "PLAINTEXT://h:70000", "PLAINTEXT://a/b:1"]
    {
        assert_eq!(listeners(text), format!("listeners={text}: {text} must be of the form NAME://host:port"));
    }
    assert!(listeners("PLAINTEXT://:1,plaintext://:2").ends_with("must not name PLAINTEXT twice"));
    assert!(listeners("PLAINTEXT://:1,CONTROLLER://:1").ends_with("PLAINTEXT and CONTROLLER must not share port 1"));
    assert!(given("PLAINTEXT://127.0.0.1:1,CONTROLLER://[::1]:1", None).parse().is_ok());
    assert!(listeners("CONTROLLER://:1").ends_with("must have one that is not in controller.listener.names"));
    assert!(listeners("OTHER://:1").ends_with("must have an entry for the listener OTHER"));
}

#[test]
fn protocols_that_are_not_served_are_refused_by_name() {
    assert_eq!(
        refused(given("SSL://:9093", None)),
        "listeners=SSL://:9093: listener SSL is SSL, which is not yet served, only PLAINTEXT is"
    );
    let mut map = given("PLAINTEXT://:1", None);
    map.protocol_map = ("PLAINTEXT:FOO".to_owned(), true);
    assert!(refused(map).ends_with("protocols must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"));
    let mut between = given("PLAINTEXT://:1", None);
    between.inter_broker_protocol = Some("SSL".to_owned());
    assert!(refused(between).starts_with("security.inter.broker.protocol=SSL: is not yet served"));
}

#[test]
fn advertised_and_inter_broker_listeners_must_be_there() {
    assert!(refused(given("PLAINTEXT://:1", Some("OTHER://h:1"))).ends_with("OTHER must also be in listeners"));
    let mut between = given("PLAINTEXT://:1", None);
    between.inter_broker_name = Some("OTHER".to_owned());
    assert_eq!(refused(between), "inter.broker.listener.name=OTHER: must be one of the advertised listeners");
}
