//! Fetch sessions (KIP-227): a client that fetches many partitions sends and gets only what changed.
//!
//! The table lives on a shard. A client that comes back by another shard is told FETCH_SESSION_ID_NOT_FOUND and starts
//! anew, as after a restart of the broker.

use std::rc::Rc;

use kringle_protocol::messages::FetchRequest;
use kringle_protocol::{ErrorCode, Uuid};
use kringle_runtime::Time;
use rustc_hash::{FxHashMap, FxHashSet};

use super::read::Found;
use super::{FetchPartition, TOPIC_IDS_FROM_VERSION};
use crate::api::HASHED_FROM;

/// By what a session knows a partition: topic by name or id, whichever the version has, and index.
type Key<'a> = (&'a str, Uuid, i32);

impl FetchPartition {
    fn key(&self) -> Key<'_> {
        (&self.topic, self.topic_id, self.partition)
    }
}

/// A session that was not used for this long may be replaced by a new one.
const EVICT_AFTER: std::time::Duration = std::time::Duration::from_secs(120);

/// The epoch that asks for a full fetch and a new session.
const INITIAL_EPOCH: i32 = 0;

/// The epoch that asks for a full fetch without a session, closing the one it names.
const FINAL_EPOCH: i32 = -1;

/// What to do with a fetch.
pub(crate) enum Decision {
    Go(Context),
    Refused(ErrorCode),
}

/// What a fetch reads, and for which session.
pub(crate) struct Context {
    pub(crate) partitions: Vec<FetchPartition>,
    kind: Kind,
    uses_topic_ids: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// No session.
    Sessionless,
    /// A full fetch that asks for a session.
    Full,
    /// Only what changed since the last answer of this session.
    Incremental(i32),
}

struct Session {
    epoch: i32,
    uses_topic_ids: bool,
    last_used: Time,
    partitions: Vec<Cached>,
}

struct Cached {
    ask: FetchPartition,
    /// What the client was last told: high watermark and log start; -1 before the first answer.
    high_watermark: i64,
    log_start_offset: i64,
}

/// Which partitions of a fetch its client is told of.
pub(super) enum Told {
    All,
    /// By their place in the fetch.
    Some(Vec<bool>),
}

impl Told {
    pub(super) fn hears_of(&self, index: usize) -> bool {
        match self {
            Told::All => true,
            Told::Some(which) => which[index],
        }
    }
}

/// The sessions of one shard.
pub(crate) struct Sessions {
    slots: usize,
    next_id: u64,
    sessions: FxHashMap<i32, Session>,
}

impl Sessions {
    /// Room for `slots` sessions; `seed` makes ids differ between shards and starts.
    pub(crate) fn new(slots: usize, seed: u64) -> Sessions {
        Sessions { slots, next_id: seed, sessions: FxHashMap::default() }
    }

    /// Open sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Decides what a request fetches, and moves its session on.
    pub(crate) fn begin(&mut self, body: &FetchRequest, version: i16, now: Time) -> Decision {
        let asked = partitions(body);
        let uses_topic_ids = version >= TOPIC_IDS_FROM_VERSION;
        if body.session_epoch == INITIAL_EPOCH || body.session_epoch == FINAL_EPOCH {
            if body.session_id != 0 {
                self.sessions.remove(&body.session_id);
            }
            let full = body.session_epoch == INITIAL_EPOCH && version >= 7 && self.has_room(now);
            let kind = if full { Kind::Full } else { Kind::Sessionless };
            return Decision::Go(Context { partitions: asked, kind, uses_topic_ids });
        }
        let Some(session) = self.sessions.get_mut(&body.session_id) else {
            return Decision::Refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        };
        if session.epoch != body.session_epoch {
            return Decision::Refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Decision::Refused(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.update(&asked, body);
        if session.partitions.is_empty() {
            self.sessions.remove(&body.session_id);
            return Decision::Go(Context { partitions: asked, kind: Kind::Sessionless, uses_topic_ids });
        }
        session.epoch = next_epoch(session.epoch);
        session.last_used = now;
        let partitions = session.partitions.iter().map(|cached| cached.ask.clone()).collect();
        Decision::Go(Context { partitions, kind: Kind::Incremental(body.session_id), uses_topic_ids })
    }

    /// Remembers what the client is told, and chooses which partitions it is told of. Returns the session id to answer.
    pub(super) fn finish(&mut self, context: &Context, found: &[Found]) -> (i32, Told) {
        let answers = context.partitions.iter().zip(found);
        match context.kind {
            Kind::Sessionless => (0, Told::All),
            Kind::Full => {
                let partitions = answers.map(|(ask, found)| Cached {
                    ask: ask.clone(),
                    high_watermark: found.high_watermark,
                    log_start_offset: found.log_start_offset,
                });
                let session = Session {
                    epoch: next_epoch(INITIAL_EPOCH),
                    uses_topic_ids: context.uses_topic_ids,
                    last_used: self.newest_use(),
                    partitions: partitions.collect(),
                };
                let id = self.new_id();
                self.sessions.insert(id, session);
                (id, Told::All)
            }
            Kind::Incremental(id) => {
                let Some(session) = self.sessions.get_mut(&id) else { return (id, Told::All) };
                let told = answers.enumerate().map(|(index, (ask, found))| session.tell(index, ask, found)).collect();
                session.rotate(found);
                (id, Told::Some(told))
            }
        }
    }

    fn has_room(&mut self, now: Time) -> bool {
        if self.sessions.len() < self.slots {
            return true;
        }
        let oldest = self
            .sessions
            .iter()
            .min_by_key(|(_, session)| session.last_used)
            .map(|(id, session)| (*id, session.last_used));
        match oldest {
            Some((id, used)) if now.since(used) > EVICT_AFTER => self.sessions.remove(&id).is_some(),
            _ => false,
        }
    }

    fn newest_use(&self) -> Time {
        self.sessions.values().map(|session| session.last_used).max().unwrap_or_default()
    }

    /// A positive id that is not in use.
    fn new_id(&mut self) -> i32 {
        loop {
            self.next_id = self.next_id.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = i32::try_from(self.next_id >> 33).expect("31 bits");
            if id != 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Session {
    /// Takes in what the request adds, then what it forgets, as Kafka does: who names a partition in both loses it.
    fn update(&mut self, asked: &[FetchPartition], body: &FetchRequest) {
        let cached = || self.partitions.iter().map(|cached| &cached.ask);
        let places: Vec<Option<usize>> = if asked.len() < HASHED_FROM {
            asked.iter().map(|ask| place_of(cached(), ask)).collect()
        } else {
            let known: FxHashMap<Key<'_>, usize> = cached().enumerate().map(|(at, ask)| (ask.key(), at)).collect();
            asked.iter().map(|ask| known.get(&ask.key()).copied()).collect()
        };
        for (ask, place) in asked.iter().zip(places) {
            match place {
                Some(at) => self.partitions[at].ask = ask.clone(),
                None => self.partitions.push(Cached { ask: ask.clone(), high_watermark: -1, log_start_offset: -1 }),
            }
        }
        let topics = body.forgotten_topics_data.iter();
        let forgotten: FxHashSet<Key<'_>> = topics
            .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic.as_str(), topic.topic_id, *index)))
            .collect();
        if !forgotten.is_empty() {
            self.partitions.retain(|cached| !forgotten.contains(&cached.ask.key()));
        }
    }

    /// Whether the client must hear of this partition; remembers what it hears. `index` is its place among the
    /// session's partitions when the fetch began.
    fn tell(&mut self, index: usize, ask: &FetchPartition, found: &Found) -> bool {
        let Some(cached) = self.partitions.get_mut(index).filter(|cached| cached.ask.key() == ask.key()) else {
            return true;
        };
        let failed = found.error != ErrorCode::NONE;
        let news = found.has_records()
            || failed
            || found.diverging.is_some_and(|(epoch, _)| epoch >= 0)
            || cached.high_watermark != found.high_watermark
            || cached.log_start_offset != found.log_start_offset;
        // An error is told again next time, until it is gone.
        cached.high_watermark = if failed { -1 } else { found.high_watermark };
        cached.log_start_offset = found.log_start_offset;
        news
    }

    /// Moves whoever got records to the end, so that under a byte limit all get their turn.
    fn rotate(&mut self, found: &[Found]) {
        let mut found = found.iter();
        let (back, front): (Vec<Cached>, Vec<Cached>) =
            self.partitions.drain(..).partition(|_| found.next().is_some_and(Found::has_records));
        self.partitions = front.into_iter().chain(back).collect();
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// A request's partitions. Of one that is named twice the later entry counts, at the place of the first.
fn partitions(body: &FetchRequest) -> Vec<FetchPartition> {
    let count = body.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut asked: Vec<FetchPartition> = Vec::with_capacity(count);
    let mut places = (count >= HASHED_FROM).then(FxHashMap::<Key<'_>, usize>::default);
    for topic in &body.topics {
        let name: Rc<str> = Rc::from(topic.topic.as_str());
        for partition in &topic.partitions {
            let ask = FetchPartition {
                topic: name.clone(),
                topic_id: topic.topic_id,
                partition: partition.partition,
                fetch_offset: partition.fetch_offset,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
                max_bytes: partition.partition_max_bytes,
            };
            let place = match &mut places {
                Some(places) => {
                    let key = (topic.topic.as_str(), topic.topic_id, partition.partition);
                    *places.entry(key).or_insert(asked.len())
                }
                None => place_of(asked.iter(), &ask).unwrap_or(asked.len()),
            };
            match asked.get_mut(place) {
                Some(earlier) => *earlier = ask,
                None => asked.push(ask),
            }
        }
    }
    asked
}

/// Where a partition stands among others.
fn place_of<'a>(mut among: impl Iterator<Item = &'a FetchPartition>, ask: &FetchPartition) -> Option<usize> {
    among.position(|other| other.key() == ask.key())
}

#[cfg(test)]
mod tests {
    use kringle_protocol::fetch_request::{self, FetchTopic, ForgottenTopic};

    use super::*;

    fn request(session_id: i32, session_epoch: i32, asked: &[(i32, i64)], forgotten: &[i32]) -> FetchRequest {
        let partition = |(partition, fetch_offset): &(i32, i64)| fetch_request::FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            ..Default::default()
        };
        let partitions: Vec<_> = asked.iter().map(partition).collect();
        let forgotten = ForgottenTopic { topic: "t".to_owned(), partitions: forgotten.to_vec(), ..Default::default() };
        FetchRequest {
            session_id,
            session_epoch,
            topics: vec![FetchTopic { topic: "t".to_owned(), partitions, ..Default::default() }],
            forgotten_topics_data: vec![forgotten],
            ..Default::default()
        }
    }

    fn go(sessions: &mut Sessions, request: &FetchRequest) -> Context {
        match sessions.begin(request, 11, Time::default()) {
            Decision::Go(context) => context,
            Decision::Refused(error) => panic!("{error:?}"),
        }
    }

    fn asked(context: &Context) -> Vec<(i32, i64)> {
        context.partitions.iter().map(|ask| (ask.partition, ask.fetch_offset)).collect()
    }

    /// Answers with nothing; the session's id.
    fn answer(sessions: &mut Sessions, context: &Context) -> i32 {
        let found: Vec<_> = context.partitions.iter().map(|_| Found::failed(ErrorCode::NONE)).collect();
        sessions.finish(context, &found).0
    }

    #[test]
    fn of_a_partition_named_twice_the_later_entry_counts() {
        let mut sessions = Sessions::new(10, 1);
        let context = go(&mut sessions, &request(0, -1, &[(0, 5), (1, 6), (0, 7)], &[]));
        assert_eq!(asked(&context), [(0, 7), (1, 6)]);
    }

    #[test]
    fn what_is_named_and_forgotten_in_one_request_is_forgotten() {
        let mut sessions = Sessions::new(10, 1);
        let context = go(&mut sessions, &request(0, 0, &[(0, 0), (1, 0)], &[]));
        let id = answer(&mut sessions, &context);
        let context = go(&mut sessions, &request(id, 1, &[(0, 9), (2, 9)], &[0]));
        assert_eq!(asked(&context), [(1, 0), (2, 9)]);
    }

    #[test]
    fn a_session_that_has_lost_its_last_partition_is_gone() {
        let mut sessions = Sessions::new(10, 1);
        let context = go(&mut sessions, &request(0, 0, &[(0, 0)], &[]));
        let id = answer(&mut sessions, &context);
        assert_eq!(sessions.len(), 1);
        let context = go(&mut sessions, &request(id, 1, &[], &[0]));
        assert_eq!((answer(&mut sessions, &context), sessions.len()), (0, 0));
        let refused = sessions.begin(&request(id, 2, &[], &[]), 11, Time::default());
        assert!(matches!(refused, Decision::Refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)));
    }
}
