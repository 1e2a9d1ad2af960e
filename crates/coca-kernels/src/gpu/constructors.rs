//! What has to run before anything else in WebAssembly.

use std::sync::Once;

#[allow(unsafe_code, reason = "the linker defines it, with this signature")]
unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs the constructors of static data, which cubecl registers the operations of its compiler with; to be called before
/// a device is opened. The second call does nothing.
///
/// Where nobody calls them, the linker takes the module for a program and has every exported function call them first,
/// also those that wasm-bindgen calls for each JavaScript object that is made or dropped: several milliseconds for each
/// kernel that is started.
#[allow(unsafe_code, reason = "see there")]
pub fn run_constructors() {
    static DONE: Once = Once::new();
    // SAFETY: they take nothing and give nothing, and run once, as they would in a program.
    DONE.call_once(|| unsafe { __wasm_call_ctors() });
}
