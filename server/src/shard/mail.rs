//! Work for other shards, gathered during a turn and sent at its end as one message for each of them.
//!
//! Waking a parked shard costs tens of microseconds on either side, so a turn that has read forty requests must not do it
//! forty times. What waits here is bounded by what connections may have in work.

use std::rc::Rc;

use super::{Message, Shard, Work};

impl Shard {
    /// Runs `work` on the shard `to` after this turn. Dropped unrun if that shard has stopped.
    pub(crate) fn post(&self, to: usize, work: impl FnOnce(&Rc<Shard>) + Send + 'static) {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.len() <= to {
            outbox.resize_with(to + 1, Vec::new);
        }
        outbox[to].push(Box::new(work) as Work);
        drop(outbox);
        self.mail_wanted.notify_all();
    }

    /// Runs for the life of the shard. It is woken behind the tasks that posted something in this turn.
    pub(super) async fn mail_loop(self: Rc<Self>) {
        loop {
            let seen = self.mail_wanted.version();
            let outbox = self.outbox.take();
            if outbox.is_empty() {
                self.mail_wanted.wait_after(seen).await;
                continue;
            }
            for (to, works) in outbox.into_iter().enumerate() {
                if !works.is_empty() {
                    // A shard that has stopped takes nothing; whoever waits learns it by the dropped reply.
                    self.node.shards()[to].send(Message::Run(works)).await;
                }
            }
        }
    }
}
