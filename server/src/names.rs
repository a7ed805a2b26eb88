//! Names of topics: what is legal, what is internal, what collides.

/// The topic that holds group metadata and committed offsets.
pub(crate) const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// The topic that holds transactions; reserved although transactions are not yet served.
pub(crate) const TRANSACTION_STATE: &str = "__transaction_state";

/// The topic that holds the state of share groups; reserved likewise.
pub(crate) const SHARE_GROUP_STATE: &str = "__share_group_state";

/// Whether only the broker itself may write to it.
pub(crate) fn is_internal(topic: &str) -> bool {
    matches!(topic, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Why a name is not one for a topic, in the words that Kafka's clients show; `None` when it is legal.
pub(crate) fn illegal(topic: &str) -> Option<String> {
    if topic.is_empty() {
        return Some("the empty string is not allowed".to_owned());
    }
    if topic == "." || topic == ".." {
        return Some("'.' or '..' is not allowed".to_owned());
    }
    if topic.chars().count() > 249 {
        return Some(format!("the length of '{topic}' is longer than the max allowed length 249"));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !topic.chars().all(legal) {
        return Some(format!(
            "'{topic}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    None
}
