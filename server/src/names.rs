//! Names of topics: which are the broker's own. Which are legal: `control::topic_names`.

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

pub(crate) use crate::control::topic_names::illegal;
