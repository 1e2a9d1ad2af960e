//! The fused kernels on the device that COCA_TEST_DEVICE names, as `model.rs` does it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use std::sync::{Mutex, PoisonError};

use burn::tensor::Device;
use coca_golden::{
    Checked, Outcome, attentions, cached_attentions, largest_of_rows, layer_norms, lookups,
    normalised_products, products, quantised_products,
};
use device::device;
use pollster::block_on;

/// Runs the checks and, on wgpu, counts the kernels: a call that fell back to burn's operations would prove nothing.
fn check(what: &str, checks: impl AsyncFnOnce(&Device) -> Outcome<Checked>) {
    // One at a time: there is one observer of launches in a process, the newest.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let device = device();
    #[cfg(feature = "wgpu")]
    let counted = watched::Kernels::count();
    let Checked { error, calls } = block_on(checks(&device)).unwrap();
    #[cfg(feature = "wgpu")]
    if std::env::var("COCA_TEST_DEVICE").as_deref() == Ok("wgpu")
        && std::env::var("COCA_TEST_KERNELS").as_deref() != Ok("off")
    {
        assert_eq!(counted.started(what), calls, "a kernel for every call");
    }
    println!("{calls} {what}s within {error:.1e}");
}

#[cfg(feature = "wgpu")]
mod watched {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use burn_cubecl::cubecl::logging::{LaunchObservation, LaunchObserver};

    #[derive(Default)]
    struct Counts(Mutex<HashMap<&'static str, usize>>);

    impl LaunchObserver for Counts {
        fn launched(&self, kernel: &'static str) {
            *self.0.lock().unwrap().entry(kernel).or_default() += 1;
        }
    }

    /// The kernels that are started while this lives.
    pub struct Kernels(
        Arc<Counts>,
        #[expect(dead_code, reason = "held")] LaunchObservation,
    );

    impl Kernels {
        pub fn count() -> Self {
            let counts = Arc::new(Counts::default());
            let watching = LaunchObservation::new(counts.clone());
            Self(counts, watching)
        }

        /// How many of ours there were of this kind.
        pub fn started(&self, kind: &str) -> usize {
            let kernel = format!("coca_kernels::gpu::{kind}::");
            let counts = self.0.0.lock().unwrap();
            let ours = counts.iter().filter(|(name, _)| name.contains(&kernel));
            ours.map(|(_, count)| count).sum()
        }
    }
}

#[test]
fn products_in_double_precision() {
    check("product", async |device| products(device).await);
}

#[test]
fn products_with_fewer_bits_in_double_precision() {
    check("product", async |device| quantised_products(device).await);
}

#[test]
fn products_of_normalised_rows_in_double_precision() {
    check("product", async |device| normalised_products(device).await);
}

#[test]
fn attention_over_a_cache_in_double_precision() {
    check("attention", async |device| cached_attentions(device).await);
}

#[test]
fn rows_of_fewer_bits_in_double_precision() {
    check("lookup", async |device| lookups(device).await);
}

#[test]
fn the_largest_of_rows() {
    check("largest", async |device| largest_of_rows(device).await);
}

#[test]
fn layer_norms_in_double_precision() {
    check("layer_norm", async |device| layer_norms(device).await);
}

#[test]
fn attention_in_double_precision() {
    check("attention", async |device| attentions(device).await);
}
