//! What the runtime has to say outside of calls: panics and log records.

use std::cell::RefCell;
use std::panic;

use js_sys::{Function, Promise};
use log::{LevelFilter, Log, Metadata, Record};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

struct Hooks {
    on_panic: Function,
    on_log: Function,
    #[cfg_attr(
        not(feature = "webgpu"),
        expect(dead_code, reason = "the CPU does not fail outside of calls")
    )]
    on_failure: Function,
    macrotask: Function,
}

thread_local! {
    static HOOKS: RefCell<Option<Hooks>> = const { RefCell::new(None) };
}

/// Takes the worker's functions; to be called once, before anything else.
///
/// - `on_panic(message)`: the last thing that this instance does; nothing may be called after it
/// - `on_log(level, message)`: cubecl reports a kernel that the browser refused only by logging it
/// - `on_failure(code, message)`: the device cannot be used any more, nor what it has computed since its last read-back
/// - `macrotask()`: a promise that resolves after the worker has received its messages
#[wasm_bindgen]
pub fn install(on_panic: Function, on_log: Function, on_failure: Function, macrotask: Function) {
    #[cfg(feature = "webgpu")]
    coca_kernels::gpu::run_constructors();
    HOOKS.set(Some(Hooks {
        on_panic,
        on_log,
        on_failure,
        macrotask,
    }));
    panic::set_hook(Box::new(|info| {
        with_hooks(|hooks| {
            let _ = hooks
                .on_panic
                .call1(&JsValue::NULL, &info.to_string().into());
        });
    }));
    // Fails only when it was set before, in which case it is this one.
    let _ = log::set_logger(&ToWorker);
    log::set_max_level(LevelFilter::Info);
}

/// Tells the worker that the device failed, outside of any call.
#[cfg(feature = "webgpu")]
pub fn device_failed(error: crate::error::CodedError) {
    with_hooks(|hooks| {
        let (code, message) = (JsValue::from(error.code), JsValue::from(&error.message));
        let _ = hooks.on_failure.call2(&JsValue::NULL, &code, &message);
    });
}

/// Lets the worker receive its messages.
pub async fn macrotask() {
    let promise = with_hooks(|hooks| hooks.macrotask.call0(&JsValue::NULL).ok()).flatten();
    if let Some(promise) = promise.and_then(|value| value.dyn_into::<Promise>().ok()) {
        // It has no value and does not reject.
        let _ = JsFuture::from(promise).await;
    }
}

/// Never panics: it runs inside of panics too.
fn with_hooks<T>(use_them: impl FnOnce(&Hooks) -> T) -> Option<T> {
    HOOKS
        .try_with(|hooks| hooks.try_borrow().ok()?.as_ref().map(use_them))
        .ok()
        .flatten()
}

struct ToWorker;

impl Log for ToWorker {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Info
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            with_hooks(|hooks| {
                hooks
                    .on_log
                    .call2(
                        &JsValue::NULL,
                        &level.into(),
                        &record.args().to_string().into(),
                    )
                    .is_ok()
            });
        }
    }

    fn flush(&self) {}
}
