//! How a shard reaches a partition, whoever owns it: resolved once, kept until the metadata changes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use kringle_log::Rules;
use kringle_protocol::Uuid;

use super::Shard;
use super::appends::Waiting;
use super::partition::Partition;
use super::shared::SharedLog;
use super::topics::Topic;

/// One partition as one shard sees it.
pub(crate) struct Route {
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) shared: Arc<SharedLog>,
    /// The shard that owns it.
    pub(super) owner: usize,
    /// Where this shard is the owner.
    pub(super) mine: Option<Rc<Partition>>,
    /// Batches that came in this turn.
    pub(super) waiting: RefCell<VecDeque<Waiting>>,
    /// Letters to the owner that are not answered: what comes later must not overtake them.
    pub(super) letters: Cell<usize>,
    /// What producers must keep to; made at the first produce.
    rules: RefCell<Option<Rc<Rules>>>,
}

impl Route {
    /// What `topic` accepts in this partition.
    pub(crate) fn rules(&self, topic: &Topic) -> Rc<Rules> {
        let mut rules = self.rules.borrow_mut();
        rules.get_or_insert_with(|| Rc::new(topic.rules(self.partition))).clone()
    }

    fn is_idle(&self) -> bool {
        self.letters.get() == 0 && self.waiting.borrow().is_empty()
    }
}

impl Shard {
    /// The way to a partition that this broker leads.
    pub(crate) fn route(&self, topic_id: Uuid, partition: i32) -> Option<Rc<Route>> {
        if let Some(route) = self.routes.borrow().get(&(topic_id, partition)) {
            return Some(route.clone());
        }
        let route = Rc::new(Route {
            topic_id,
            partition,
            shared: self.node.partitions.get(topic_id, partition)?,
            owner: self.owner_of(topic_id, partition),
            mine: self.partition(topic_id, partition),
            waiting: RefCell::default(),
            letters: Cell::new(0),
            rules: RefCell::default(),
        });
        self.routes.borrow_mut().insert((topic_id, partition), route.clone());
        Some(route)
    }

    /// The metadata has changed. Routes in use stay: they know what must not be overtaken.
    pub(super) fn forget_routes(&self) {
        self.routes.borrow_mut().retain(|_, route| {
            route.rules.take();
            !route.is_idle()
        });
    }
}
