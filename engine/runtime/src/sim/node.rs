//! Simulated machines.
use crate::executor::LocalBoxFuture;
use crate::rt::Rt;
use crate::sim::disk::SimFs;
#[derive(Clone)]
pub(crate) struct SimHost;
impl SimHost {
    pub(crate) fn start(&self, _: &str, _: usize, _: Box<dyn FnOnce(Rt) -> LocalBoxFuture<'static, ()> + Send>) {
        unimplemented!()
    }
    pub(crate) fn fs(&self) -> SimFs {
        unimplemented!()
    }
    pub(crate) fn cores(&self) -> usize {
        unimplemented!()
    }
    pub(crate) fn describe(&self) -> String {
        unimplemented!()
    }
}
