//! Simulated machines.

use std::net::IpAddr;
use std::sync::Arc;

use crate::executor::LocalBoxFuture;
use crate::host::{Host, HostInner};
use crate::rt::Rt;
use crate::sim::disk::SimFs;
use crate::sim::world::World;

/// Cores a simulated machine claims to have.
const CORES: usize = 2;

/// What a thread runs.
pub(crate) type Main = Box<dyn FnOnce(Rt) -> LocalBoxFuture<'static, ()> + Send>;

/// A thread that was started and does not run yet.
pub(crate) struct Start {
    pub(crate) node: usize,
    pub(crate) life: u64,
    pub(crate) index: usize,
    pub(crate) main: Main,
}

/// One life of a simulated machine, from start to crash.
#[derive(Clone)]
pub(crate) struct SimHost {
    pub(crate) world: Arc<World>,
    pub(crate) node: usize,
    pub(crate) life: u64,
}

impl SimHost {
    pub(crate) fn start(&self, index: usize, main: Main) {
        let start = Start { node: self.node, life: self.life, index, main };
        self.world.lock().starts.push(start);
    }

    pub(crate) fn fs(&self) -> SimFs {
        self.world.lock().nodes[self.node].fs.clone()
    }

    pub(crate) fn cores(&self) -> usize {
        CORES
    }

    pub(crate) fn describe(&self) -> String {
        let world = self.world.lock();
        let node = &world.nodes[self.node];
        format!("simulated machine {} ({}), {CORES} cores", node.name, node.ip)
    }
}

/// A simulated machine with its own disk and address.
#[derive(Clone)]
pub struct SimNode {
    pub(crate) world: Arc<World>,
    pub(crate) number: usize,
}

impl SimNode {
    /// The machine as it is now, to hand to what runs on it.
    pub fn host(&self) -> Host {
        let life = self.world.lock().nodes[self.number].life;
        Host { inner: HostInner::Sim(SimHost { world: Arc::clone(&self.world), node: self.number, life }) }
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        World::address(self.number)
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.world.lock().nodes[self.number].name.clone()
    }
}
