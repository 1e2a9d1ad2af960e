//! The fused kernels on the device that COCA_TEST_DEVICE names, as `model.rs` does it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use coca_golden::{attentions, layer_norms, products};
use device::device;
use pollster::block_on;

#[test]
fn products_in_double_precision() {
    println!(
        "products within {:.1e}",
        block_on(products(&device())).unwrap()
    );
}

#[test]
fn layer_norms_in_double_precision() {
    let error = block_on(layer_norms(&device())).unwrap();
    println!("layer norms within {error:.1e}");
}

#[test]
fn attention_in_double_precision() {
    let error = block_on(attentions(&device())).unwrap();
    println!("attention within {error:.1e}");
}
