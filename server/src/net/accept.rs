//! Accepting connections: the control thread accepts for all and hands each connection to the least loaded shard.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kringle_runtime::{Listener, Rt};

use crate::node::{ListenerId, Node};
use crate::shard::Message;

/// The open connections, counted, and how many there may be.
pub(crate) struct Connections {
    next_id: AtomicU64,
    /// Touched when a connection comes or goes, never on the data path.
    open: Mutex<Open>,
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
        Connections { next_id: AtomicU64::new(1), open: Mutex::new(open) }
    }

    /// From now on these limits hold.
    pub(crate) fn limit(&self, limits: Limits) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).limits = limits;
    }

    /// Counts a connection from `ip` and numbers it. `None` when it is one too many.
    fn admit(&self, ip: IpAddr) -> Option<u64> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_ip = open.limits.per_ip_overrides.get(&ip).copied().unwrap_or(open.limits.max_per_ip);
        let from_ip = open.per_ip.get(&ip).copied().unwrap_or(0);
        if open.total >= open.limits.max || from_ip >= of_ip {
            return None;
        }
        open.total += 1;
        open.per_ip.insert(ip, from_ip + 1);
        Some(self.next_id.fetch_add(1, Ordering::Relaxed))
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
        let Some(id) = node.connections.admit(peer.ip()) else {
            tracing::info!(%peer, "connection refused: max.connections or max.connections.per.ip reached");
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
    use super::*;

    #[test]
    fn one_address_cannot_take_all_connections() {
        let one: IpAddr = [127, 0, 0, 1].into();
        let other: IpAddr = [127, 0, 0, 2].into();
        let limits = Limits { max: 3, max_per_ip: 2, per_ip_overrides: BTreeMap::new() };
        let connections = Connections::new(limits.clone());
        assert!(connections.admit(one).is_some() && connections.admit(one).is_some());
        assert_eq!(connections.admit(one), None);
        assert!(connections.admit(other).is_some());
        assert_eq!(connections.admit(other), None, "max.connections counts all");
        connections.closed(one);
        assert!(connections.admit(one).is_some());
        connections.limit(Limits { max: 4, per_ip_overrides: [(one, 3)].into(), ..limits });
        assert!(connections.admit(one).is_some(), "limits change while connections are open");
        assert_eq!(connections.admit(one), None);
    }
}
