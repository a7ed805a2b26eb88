//! A shard that benches send work to: one thread with one driver, as in the broker.

use kringle_runtime::{Answer, Host, LocalBoxFuture, Rt, Sender, block_on, channel, oneshot};

type Job = Box<dyn FnOnce(Rt) -> LocalBoxFuture<'static, ()> + Send>;

/// A running shard; its thread ends when this is dropped.
pub(crate) struct Shard {
    jobs: Sender<Job>,
}

impl Shard {
    pub(crate) fn start(host: &Host) -> Shard {
        let (jobs, mut inbox) = channel::<Job>(4);
        let main = move |rt: Rt| -> LocalBoxFuture<'static, ()> {
            Box::pin(async move {
                while let Some(job) = inbox.recv().await {
                    job(rt.clone()).await;
                }
            })
        };
        host.start("bench", 0, None, main).expect("a thread and a driver");
        Shard { jobs }
    }

    /// Starts work on the shard.
    pub(crate) fn begin<T: Send + 'static>(&self, work: impl AsyncFnOnce(Rt) -> T + Send + 'static) -> Answer<T> {
        let (reply, answer) = oneshot();
        let job: Job = Box::new(move |rt| Box::pin(async move { reply.send(work(rt).await) }));
        self.jobs.try_send(job).expect("the shard lives and has room");
        answer
    }

    /// Runs work on the shard and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl AsyncFnOnce(Rt) -> T + Send + 'static) -> T {
        finished(self.begin(work))
    }
}

/// Waits for work that was begun.
pub(crate) fn finished<T>(answer: Answer<T>) -> T {
    block_on(answer).expect("the shard does not panic")
}
