//! The golden checks on the device that COCA_TEST_DEVICE names: flex (default), wgpu, vulkan or cuda (the last three
//! each a cargo feature): `COCA_TEST_DEVICE=wgpu cargo test --release -p coca-golden --features wgpu`. On wgpu
//! COCA_TEST_KERNELS=off composes every operation of burn's own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use coca_golden::{
    Golden, MODELS, attention, cached_equals_uncached, generated_ids, gradients, losses, outputs,
    outputs_in_fewer_bits,
};
use device::device;
use pollster::block_on;

fn golden(name: &str) -> Golden {
    let path = |extension: &str| format!("{}/data/{name}.{extension}", env!("CARGO_MANIFEST_DIR"));
    let read = |extension: &str| std::fs::read(path(extension)).unwrap();
    Golden::new(&read("json"), read("safetensors")).unwrap()
}

#[test]
fn outputs_equal_open_clip() {
    for name in MODELS {
        let error = block_on(outputs(&golden(&format!("model_{name}")), &device())).unwrap();
        println!("{name}: outputs within {error:.1e}");
    }
}

#[test]
fn attention_equals_open_clip() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/attention.json");
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for name in MODELS {
        let golden = golden(&format!("model_{name}"));
        let error = block_on(attention(&golden, &expected[name], &device())).unwrap();
        println!("{name}: attention within {error:.1e}");
    }
}

#[test]
fn weights_in_fewer_bits_give_the_same() {
    if std::env::var("COCA_TEST_KERNELS").as_deref() == Ok("off") {
        println!("skipped: without kernels nothing stays in fewer bits");
        return;
    }
    for name in MODELS {
        let golden = golden(&format!("model_{name}"));
        let error = block_on(outputs_in_fewer_bits(&golden, &device())).unwrap();
        println!("{name}: in fewer bits within {error:.1e}");
    }
}

#[test]
fn losses_equal_open_clip() {
    for name in MODELS {
        let error = block_on(losses(&golden(&format!("model_{name}")), &device())).unwrap();
        println!("{name}: losses within {error:.1e}");
    }
}

#[test]
fn gradients_equal_open_clip() {
    for name in MODELS {
        let error = block_on(gradients(
            &golden(&format!("model_{name}")),
            &device().autodiff(),
        ))
        .unwrap();
        println!("{name}: gradients within {error:.1e}");
    }
}

#[test]
fn cached_decoding_equals_uncached() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let must_record = variable("COCA_TEST_DEVICE") == "wgpu"
        && variable("COCA_TEST_FORMS") == "hardware"
        && variable("COCA_TEST_KERNELS") != "off";
    for name in MODELS {
        let error = block_on(cached_equals_uncached(
            &golden(&format!("model_{name}")),
            &device(),
            must_record,
        ))
        .unwrap();
        println!("{name}: every step within {error:.1e}");
    }
}

#[test]
fn generated_ids_equal_open_clip() {
    let calls = block_on(generated_ids(&golden("gen_tiny"), &device())).unwrap();
    assert_eq!(calls, 12);
}
