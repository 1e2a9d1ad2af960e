//! Futures that let the worker hear its messages.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::hooks::macrotask;

/// Runs a future in such a way that each time it yields of its own accord, as the model does before every read-back,
/// the worker receives its messages before going on.
///
/// wasm-bindgen's own executor goes on within the same macrotask, so that on the CPU, where nothing is ever waited
/// for, an "abort" would not be heard before the end of the whole generation.
pub async fn with_turns<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut turn: Option<Pin<Box<dyn Future<Output = ()>>>> = None;
    std::future::poll_fn(move |context| {
        loop {
            if let Some(running) = &mut turn {
                if running.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                turn = None;
            }
            let flag = Arc::new(Flag {
                woken: AtomicBool::new(false),
                outer: context.waker().clone(),
            });
            let waker = Waker::from(flag.clone());
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(output);
            }
            // Woken while it was polled: it waits for nothing.
            if !flag.woken.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            turn = Some(Box::pin(macrotask()));
        }
    })
    .await
}

struct Flag {
    woken: AtomicBool,
    outer: Waker,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.outer.wake_by_ref();
    }
}
