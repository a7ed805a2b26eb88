//! Accepting connections: the control thread accepts for all and hands each connection to the least loaded shard.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kringle_runtime::{Listener, Notify, Rt};

use crate::node::{ListenerId, Node};
use crate::shard::Message;

/// The open connections, counted, and how many there may be. As in Kafka, at `max.connections` those who come wait until
/// others go; above `max.connections.per.ip` they are closed.
pub(crate) struct Connections {
    next_id: AtomicU64,
    /// Touched when a connection comes or goes, never on the data path.
    open: Mutex<Open>,
    /// A connection ended, or there may be more.
    room: Notify,
    refused: AtomicU64,
}

/// Why a connection is not let in.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The node has as many as it may have.
    Full,
    /// Its address has as many as it may have.
    Address,
}

struct Open {
    limits: Limits,
    total: usize,
    per_ip: BTreeMap<IpAddr, usize>,
}

/// How many connections there may be. All three may change while the broker runs; who is connected stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `max.connections`
    pub(crate) max: usize,
    /// `max.connections.per.ip`
    pub(crate) max_per_ip: usize,
    /// `max.connections.per.ip.overrides`
    pub(crate) per_ip_overrides: BTreeMap<IpAddr, usize>,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Connections {
        let open = Open { limits, total: 0, per_ip: BTreeMap::new() };
        Connections {
            next_id: AtomicU64::new(1),
            open: Mutex::new(open),
            room: Notify::new(),
            refused: AtomicU64::new(0),
        }
    }

    /// From now on these limits hold.
    pub(crate) fn limit(&self, limits: Limits) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).limits = limits;
        self.room.notify_all();
    }

    /// Counts a connection from `ip` and numbers it, once there is room. `None` when its address has too many.
    async fn admit(&self, ip: IpAddr) -> Option<u64> {
        loop {
            let seen = self.room.version();
            match self.try_admit(ip) {
                Ok(id) => return Some(id),
                Err(Refusal::Full) => self.room.wait_after(seen).await,
                Err(Refusal::Address) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
            }
        }
    }

    fn try_admit(&self, ip: IpAddr) -> Result<u64, Refusal> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_ip = open.limits.per_ip_overrides.get(&ip).copied().unwrap_or(open.limits.max_per_ip);
        let from_ip = open.per_ip.get(&ip).copied().unwrap_or(0);
        if open.total >= open.limits.max {
            return Err(Refusal::Full);
        }
        if from_ip >= of_ip {
            return Err(Refusal::Address);
        }
        open.total += 1;
        open.per_ip.insert(ip, from_ip + 1);
        Ok(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn closed(&self, ip: IpAddr) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(count) = open.per_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                open.per_ip.remove(&ip);
            }
        }
        drop(open);
        self.room.notify_all();
    }

    /// How many were closed because their address had too many.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Open connections of the whole node.
    pub(crate) fn total(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

/// Accepts until the thread ends. Runs on the control thread, which has nothing else to do most of the time.
pub(crate) async fn accept(rt: Rt, node: Arc<Node>, listener: Listener, came_by: ListenerId) {
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or memory: those who are connected go on, those who come wait.
                tracing::warn!("accept failed: {error}");
                rt.sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(id) = node.connections.admit(peer.ip()).await else {
            tracing::info!(%peer, "connection refused: max.connections.per.ip reached");
            continue;
        };
        let shards = node.shards();
        let least =
            shards.iter().min_by_key(|handle| handle.connections.load(Ordering::Relaxed)).expect("a shard exists");
        least.connections.fetch_add(1, Ordering::Relaxed);
        least.send(Message::Connection { socket: socket.detach(), listener: came_by, id }).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn one_address_cannot_take_all_connections() {
        let one: IpAddr = [127, 0, 0, 1].into();
        let other: IpAddr = [127, 0, 0, 2].into();
        let limits = Limits { max: 3, max_per_ip: 2, per_ip_overrides: BTreeMap::new() };
        let connections = Connections::new(limits.clone());
        assert!(connections.try_admit(one).is_ok() && connections.try_admit(one).is_ok());
        assert_eq!(connections.try_admit(one), Err(Refusal::Address));
        assert!(connections.try_admit(other).is_ok());
        assert_eq!(connections.try_admit(other), Err(Refusal::Full), "max.connections counts all");
        connections.closed(one);
        assert!(connections.try_admit(one).is_ok());
        connections.limit(Limits { max: 4, per_ip_overrides: [(one, 3)].into(), ..limits });
        assert!(connections.try_admit(one).is_ok(), "limits change while connections are open");
        assert_eq!(connections.try_admit(one), Err(Refusal::Full));
    }

    #[test]
    fn who_waits_is_let_in_when_another_goes_or_more_may_be_there() {
        let ip: IpAddr = [127, 0, 0, 1].into();
        let limits = Limits { max: 1, max_per_ip: 9, per_ip_overrides: BTreeMap::new() };
        let connections = Connections::new(limits.clone());
        assert!(connections.try_admit(ip).is_ok());
        let let_in_by = |what: &dyn Fn()| {
            let mut admitted = Box::pin(connections.admit(ip));
            let mut context = Context::from_waker(Waker::noop());
            assert!(admitted.as_mut().poll(&mut context).is_pending());
            what();
            assert!(admitted.as_mut().poll(&mut context).is_ready());
        };
        let_in_by(&|| connections.closed(ip));
        let_in_by(&|| connections.limit(Limits { max: 2, ..limits.clone() }));
        assert_eq!((connections.total(), connections.refused()), (2, 0));
    }
}
