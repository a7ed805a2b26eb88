//! The simulator: a cluster in one thread, from one seed.
use crate::host::Host;
use crate::time::Time;
use std::net::IpAddr;
use std::time::Duration;
pub(crate) mod disk;
pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod thread;
/// A simulated world.
pub struct Sim;
/// A simulated machine.
#[derive(Clone)]
pub struct SimNode;
impl SimNode {
    /// The machine, to hand to what runs on it.
    pub fn host(&self) -> Host {
        unimplemented!()
    }
    /// Its address.
    pub fn ip(&self) -> IpAddr {
        unimplemented!()
    }
}
impl Sim {
    /// A world that does the same for the same seed.
    pub fn new(_seed: u64) -> Sim {
        Sim
    }
    /// Adds a machine with its own disk and address.
    pub fn node(&mut self, _name: &str) -> SimNode {
        unimplemented!()
    }
    /// Runs until `done` or the virtual `limit`; gives what `done` said last.
    pub fn run_until(&mut self, _limit: Duration, _done: impl FnMut() -> bool) -> bool {
        unimplemented!()
    }
    /// Cuts the power.
    pub fn crash(&mut self, _node: &SimNode) {
        unimplemented!()
    }
    /// kill -9.
    pub fn kill(&mut self, _node: &SimNode) {
        unimplemented!()
    }
    /// Makes a crashed or killed machine ready to start again.
    pub fn restart(&mut self, _node: &SimNode) -> Host {
        unimplemented!()
    }
    /// The virtual clock.
    pub fn now(&self) -> Time {
        unimplemented!()
    }
    /// A hash of all that happened.
    pub fn trace_hash(&self) -> u64 {
        unimplemented!()
    }
}
