//! OffsetCommit.

use kringle_protocol::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition};
use kringle_protocol::{ErrorCode, Uuid};

use super::classic::State;
use super::messages::commit_response;
use super::offsets::{NO_EXPIRY, Offset};
use super::turn::{GroupName, Then};
use super::{Coordinator, GroupResponse, ReplyToken, records};

/// From here on a client is told that the group does not exist.
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;

impl Coordinator {
    pub(super) fn commit_offsets(&mut self, token: ReplyToken, version: i16, request: &OffsetCommitRequest) {
        let mut response = commit_response(request, ErrorCode::NONE);
        let is_new = match self.admit_commit(version, request) {
            Ok(is_new) => is_new,
            Err(code) => {
                return self.turn.reply(token, GroupResponse::OffsetCommit(commit_response(request, code)));
            }
        };
        for (topic, answers) in request.topics.iter().zip(&mut response.topics) {
            for (partition, answer) in topic.partitions.iter().zip(&mut answers.partitions) {
                let offset = self.offset_of(request, topic.topic_id, partition);
                let result = match offset {
                    Ok(offset) => self.stage(&request.group_id, &topic.name, partition.partition_index, Some(offset)),
                    Err(code) => Err(code),
                };
                answer.error_code = result.err().unwrap_or(ErrorCode::NONE).code();
            }
        }
        self.log_group(&request.group_id, is_new);
        self.reply_after_writes(token, GroupResponse::OffsetCommit(response));
    }

    /// Whether this client may commit now; true if the group was made for it.
    fn admit_commit(&mut self, version: i16, request: &OffsetCommitRequest) -> Result<bool, ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        let Some(group) = self.groups.get(&*request.group_id) else {
            if generation < 0 {
                // A tool, or a consumer that assigns partitions to itself.
                return self.make_group(&request.group_id);
            }
            let with_code = version >= GROUP_ID_NOT_FOUND_FROM;
            return Err(if with_code { ErrorCode::GROUP_ID_NOT_FOUND } else { ErrorCode::ILLEGAL_GENERATION });
        };
        if generation < 0 && group.state == State::Empty {
            return Ok(false);
        }
        let instance_id = request.group_instance_id.as_deref();
        if generation >= 0 || !request.member_id.is_empty() || instance_id.is_some() {
            group.validate_member(&request.member_id, instance_id)?;
            if generation != group.generation {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        } else if group.state != State::Empty {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        match group.state {
            State::CompletingRebalance => return Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Stable | State::PreparingRebalance => self.turn.hear_of(group, &request.member_id),
            State::Empty => {}
        }
        Ok(false)
    }

    fn offset_of(
        &self,
        request: &OffsetCommitRequest,
        topic_id: Uuid,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<Offset, ErrorCode> {
        let metadata = partition.committed_metadata.clone().unwrap_or_default();
        if metadata.encode_utf16().count() > self.turn.config.offset_metadata_max_bytes {
            return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
        }
        let offset = Offset {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch.max(-1),
            metadata,
            commit_timestamp_ms: self.turn.now_ms,
            expire_timestamp_ms: NO_EXPIRY,
            topic_id,
        };
        if request.retention_time_ms == -1 {
            return Ok(offset);
        }
        // The one value that has a time to expire at has no place for these two.
        let expire_timestamp_ms = self.turn.now_ms.saturating_add(request.retention_time_ms);
        Ok(Offset { leader_epoch: -1, topic_id: Uuid::ZERO, expire_timestamp_ms, ..offset })
    }

    /// Appends an offset, or its tombstone.
    pub(super) fn stage(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: Option<Offset>,
    ) -> Result<(), ErrorCode> {
        self.turn.append(records::offset(group, topic, partition, offset.as_ref()))?;
        let key = self.offsets.key(group, topic, partition);
        self.offsets.stage(&key, self.turn.write_id(), offset);
        self.turn.touch_offset(key);
        Ok(())
    }

    /// A group that is not in the log yet comes there with its offsets; one that was made for nothing is not kept.
    fn log_group(&mut self, id: &str, is_new: bool) {
        let Some(group) = self.groups.get(id).filter(|group| !group.visible) else { return };
        if self.turn.has_draft() {
            let name = GroupName::from(group);
            self.turn.then(Then::Logged(name));
        } else if is_new {
            self.groups.remove(id);
        }
    }
}
