//! What goes by itself: old offsets, empty groups without any, and the offsets of topics that are deleted.

use kringle_protocol::{ErrorCode, Uuid};

use super::classic::{Group, State};
use super::offsets::{NO_EXPIRY, Offset, OffsetKey};
use super::timers::TimerKey;
use super::{Coordinator, Output};

/// Tombstones that one search may write before it makes way for requests.
const TOMBSTONES_AT_ONCE: usize = 1_000;
/// Groups that one search looks at before it makes way.
const GROUPS_AT_ONCE: usize = 10_000;

impl Coordinator {
    /// Topics are gone: so are their offsets. One that is committed for a topic of the same name but another id stays.
    /// Call it again with the same topics, once the write of this call has ended, until there is no write.
    pub fn topics_deleted(&mut self, topics: &[(String, Uuid)], now_ms: i64) -> Output {
        self.turn.now_ms = now_ms;
        self.turn.may_be_split();
        for (name, id) in topics {
            let gone = self.offsets.latest_of_topic(name).into_iter();
            let gone = gone.filter(|(_, offset)| offset.topic_id.is_zero() || offset.topic_id == *id);
            let gone: Vec<OffsetKey> = gone.map(|(key, _)| key).collect();
            let unknown: Vec<_> =
                self.transactions.of_topic(name, *id).filter(|key| !gone.contains(key)).cloned().collect();
            for key in gone.into_iter().chain(unknown) {
                if self.turn.records_len() >= TOMBSTONES_AT_ONCE {
                    return self.finish();
                }
                // What cannot be written was never committed.
                let _unwritten = self.stage(&key.group, &key.topic, key.partition, None);
            }
        }
        self.finish()
    }

    /// The timer for the search went off.
    pub(super) fn expire(&mut self) {
        let from = match self.expiry_after.take() {
            Some(after) => std::ops::Bound::Excluded(after),
            None => std::ops::Bound::Unbounded,
        };
        let groups: Vec<_> = self
            .groups
            .range((from, std::ops::Bound::Unbounded))
            .take(GROUPS_AT_ONCE)
            .map(|(id, _)| id.clone())
            .collect();
        let mut pause_ms = self.turn.config.offsets_retention_check_interval_ms.max(1);
        if groups.len() == GROUPS_AT_ONCE {
            self.expiry_after = groups.last().cloned();
            pause_ms = 0;
        }
        self.turn.may_be_split();
        for id in groups {
            // What cannot be written now is found again by the next search.
            let _unwritten = self.expire_group(&id);
            if self.turn.records_len() >= TOMBSTONES_AT_ONCE {
                self.expiry_after = Some(id);
                pause_ms = 0;
                break;
            }
        }
        self.turn.timers.set(TimerKey::Expiry, self.turn.now_ms.saturating_add(pause_ms));
    }

    fn expire_group(&mut self, id: &str) -> Result<(), ErrorCode> {
        let Some(group) = self.groups.get(id) else { return Ok(()) };
        let offsets = self.offsets.latest_of_group(id);
        let count = offsets.len();
        let now_ms = self.turn.now_ms;
        let retention_ms = self.turn.config.offsets_retention_ms;
        let expired = |(key, offset, committed): &(OffsetKey, &Offset, bool)| {
            *committed
                && !group.is_subscribed_to(&key.topic)
                && is_old(group, offset, now_ms, retention_ms)
                && !self.transactions.is_pending(id, &key.topic, key.partition)
        };
        let expired: Vec<OffsetKey> = offsets.into_iter().filter(expired).map(|(key, _, _)| key).collect();
        let in_transaction = self.transactions.of_group(id).next().is_some();
        let goes = expired.len() == count && group.state == State::Empty && group.visible && !in_transaction;
        for key in expired {
            self.stage(&key.group, &key.topic, key.partition, None)?;
        }
        if goes { self.remove_group(id) } else { Ok(()) }
    }
}

/// Whether an offset has not been needed for its time. In a group with members it never is, unless the members are
/// consumers and it is known what they read.
fn is_old(group: &Group, offset: &Offset, now_ms: i64, retention_ms: i64) -> bool {
    let since_ms = match (&group.protocol_type, group.state) {
        (None, _) => offset.commit_timestamp_ms,
        (Some(_), State::Empty) => group.state_since_ms.unwrap_or(offset.commit_timestamp_ms),
        (Some(_), State::Stable) if group.subscribed.is_some() => offset.commit_timestamp_ms,
        (Some(_), _) => return false,
    };
    if offset.expire_timestamp_ms == NO_EXPIRY {
        now_ms.saturating_sub(since_ms) >= retention_ms
    } else {
        now_ms >= offset.expire_timestamp_ms
    }
}
