//! Real threads.
use crate::executor::LocalBoxFuture;
use crate::host::{Panicked, RealOptions};
use crate::probe::Unsupported;
use crate::real::fs::RealFs;
use crate::rt::Rt;
use std::io;
#[derive(Clone)]
pub(crate) struct RealHost;
impl RealHost {
    pub(crate) fn probe(_: RealOptions) -> Result<RealHost, Unsupported> {
        unimplemented!()
    }
    pub(crate) fn start(
        &self,
        _: &str,
        _: usize,
        _: Option<usize>,
        _: impl FnOnce(Rt) -> LocalBoxFuture<'static, ()> + Send + 'static,
    ) -> io::Result<RealRunning> {
        unimplemented!()
    }
    pub(crate) fn fs(&self) -> RealFs {
        unimplemented!()
    }
    pub(crate) fn cores(&self) -> usize {
        unimplemented!()
    }
    pub(crate) fn describe(&self) -> String {
        unimplemented!()
    }
}
pub(crate) struct RealRunning;
impl RealRunning {
    pub(crate) fn join(self) -> Result<(), Panicked> {
        unimplemented!()
    }
    pub(crate) fn is_finished(&self) -> bool {
        unimplemented!()
    }
}
