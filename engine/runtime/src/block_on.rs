//! Waiting for a shard's answer on a thread that has no executor: a program's main thread, or a test.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls `future` on this thread until it is ready; the thread sleeps in between.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::block_on;

    #[test]
    fn an_answer_from_another_thread_is_waited_for() {
        let (reply, answer) = crate::oneshot();
        let sender = std::thread::spawn(move || reply.send(7));
        assert_eq!(block_on(answer), Some(7));
        sender.join().expect("sent");
    }
}
