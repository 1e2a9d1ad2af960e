//! Devices as ranks, on the CPU: threads that add tensors up in memory stand for GPUs. The losses and gradients go
//! through the same calls as over NCCL; only [`AllReduce`] is another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use burn::tensor::{Device, Tensor, TensorData};
use coca_model::LossWeights;

use super::*;
use crate::data::Batch;
use crate::train::config::tests::read as config;
use crate::train::golden::{assert_equal, model, plan, smoothed_plan, uneven_batch};
use crate::train::gradients::{BatchLosses, Plan, gradients};
use crate::train::weights::{copies, put};

/// Waits for every rank, as NCCL does, and then adds in the ranks' order.
#[derive(Debug)]
struct InMemory {
    barrier: Barrier,
    given: Mutex<Vec<Option<Tensor<1>>>>,
    sums: AtomicUsize,
}

impl InMemory {
    fn new(ranks: usize) -> Arc<Self> {
        Arc::new(Self {
            barrier: Barrier::new(ranks),
            given: Mutex::new(vec![None; ranks]),
            sums: AtomicUsize::new(0),
        })
    }
}

impl AllReduce for InMemory {
    fn sum(&self, rank: usize, tensor: Tensor<1>) -> Tensor<1> {
        assert!(tensor.dtype() == DType::F32 && !tensor.device().is_autodiff());
        self.given.lock().unwrap()[rank] = Some(tensor);
        if self.barrier.wait().is_leader() {
            self.sums.fetch_add(1, Ordering::Relaxed);
        }
        let given = self.given.lock().unwrap().clone();
        // Nobody gives the next tensor before all have seen this one.
        self.barrier.wait();
        let sum = given.into_iter().flatten().reduce(|sum, tensor| {
            assert_eq!(sum.dims(), tensor.dims(), "every rank gives as much");
            sum + tensor
        });
        sum.unwrap()
    }
}

fn ranks(count: usize, lanes: usize) -> (Ranks, Arc<InMemory>) {
    let all_reduce = InMemory::new(count);
    let devices = vec![Device::flex(); count];
    (Ranks::new(devices, lanes, all_reduce.clone()), all_reduce)
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    let data = tensor.clone().into_data();
    data.try_into_vec_as::<f32>().unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

type Found = (BatchLosses, NamedTensors);

/// The losses and gradients, by name.
fn all_values((losses, gradients): &Found) -> Vec<(String, Vec<f32>)> {
    let losses = [
        ("contrastive", &losses.contrastive),
        ("caption", &losses.caption),
        ("language_model", &losses.language_model),
    ];
    let losses = losses
        .into_iter()
        .filter_map(|(name, loss)| Some((format!("{name} loss"), values(loss.as_ref()?))));
    let gradients = gradients
        .iter()
        .map(|(name, gradient)| (name.clone(), values(gradient)));
    losses.chain(gradients).collect()
}

/// `base` with ranks of so many lanes each, and how often tensors were added up.
fn on_ranks(
    base: &Plan,
    batch: &Batch,
    count: usize,
    lanes: usize,
    bucket: usize,
) -> (Found, usize) {
    let (mut ranks, all_reduce) = ranks(count, lanes);
    ranks.bucket = bucket;
    let plan = Plan {
        lanes: vec![Device::flex(); count * lanes],
        exchange: Exchange::AllReduce(ranks),
        ..base.clone()
    };
    let found = gradients(&model(&Device::flex()), batch, &plan).unwrap();
    (found, all_reduce.sums.load(Ordering::Relaxed))
}

#[test]
fn gradients_over_ranks_are_those_of_one_device_and_of_copies() {
    let (model, batch) = (model(&Device::flex()), uneven_batch());
    let base = smoothed_plan();
    let whole = gradients(&model, &batch, &base).unwrap();
    for (count, lanes, accumulate, activation_checkpointing) in [
        (2, 1, 1, false),
        // Shares of 2, 3 and 3 images.
        (3, 1, 1, false),
        (3, 1, 1, true),
        (3, 1, 2, false),
        // Several threads on each device, which add up before the devices do.
        (2, 2, 1, false),
        (3, 2, 2, true),
        // One rank has an image without a contrastive text, and so no row.
        (8, 1, 1, false),
        // One rank has no image at all; with two lanes each, two have none.
        (9, 1, 1, false),
        (6, 2, 1, false),
    ] {
        let what = format!(
            "{count} ranks of {lanes} lanes of {accumulate}, checkpointing {activation_checkpointing}"
        );
        let base = Plan {
            accumulate,
            activation_checkpointing,
            ..base.clone()
        };
        let (found, sums) = on_ranks(&base, &batch, count, lanes, BUCKET);
        // Weights, images, texts, gradients, token losses.
        assert_eq!(sums, 5, "{what}");
        if lanes == 1 {
            let plan = Plan {
                lanes: vec![Device::flex(); count],
                ..base.clone()
            };
            let copied = gradients(&model, &batch, &plan).unwrap();
            assert_eq!(all_values(&found), all_values(&copied), "{what}");
        }
        assert_equal(found, &whole, &what);
    }
}

#[test]
fn the_size_of_buckets_changes_nothing() {
    let (base, batch) = (plan(), uneven_batch());
    let (whole, _) = on_ranks(&base, &batch, 3, 1, BUCKET);
    let (found, sums) = on_ranks(&base, &batch, 3, 1, 1000);
    assert!(sums > 20, "{sums}");
    assert_eq!(all_values(&found), all_values(&whole));
}

#[test]
fn losses_that_are_not_computed_and_frozen_parameters_have_nothing_to_add() {
    let (model, batch) = (model(&Device::flex()), uneven_batch());
    let (_, all) = gradients(&model, &batch, &plan()).unwrap();
    let frozen = all.into_keys().filter(|name| name.starts_with("visual."));
    let base = Plan {
        weights: LossWeights {
            contrastive: 0.0,
            caption: 1.0,
            language_model: 0.0,
        },
        frozen: frozen.collect(),
        ..plan()
    };
    let whole = gradients(&model, &batch, &base).unwrap();
    let (found, sums) = on_ranks(&base, &batch, 3, 1, BUCKET);
    // Weights, gradients, token losses.
    assert_eq!(sums, 3);
    assert!(found.0.contrastive.is_none() && found.0.language_model.is_none());
    assert!(found.1.keys().eq(whole.1.keys()));
    for ((name, found), (_, whole)) in all_values(&found).into_iter().zip(all_values(&whole)) {
        let largest = whole
            .iter()
            .fold(1e-2_f32, |most, value| most.max(value.abs()));
        for (a, b) in found.into_iter().zip(whole) {
            assert!((a - b).abs() <= 1e-5 * largest, "{name}: {a}, expected {b}");
        }
    }
}

#[test]
fn gathered_rows_and_spread_weights_are_the_same_to_the_last_bit() {
    let device = Device::flex();
    let rows = |values: &[f32]| {
        let data = TensorData::new(values.to_vec(), [values.len() / 2, 2]);
        Some(Tensor::<2>::from_data(data, &device))
    };
    let first = [1e-45, f32::MAX, -1.0 / 3.0, f32::MIN_POSITIVE];
    let last = [f32::EPSILON, -1e30];
    let (ranks, _) = ranks(4, 1);
    let found = ranks
        .gather(vec![rows(&first), None, None, rows(&last)])
        .unwrap();
    assert_eq!(found.len(), 4);
    for found in found {
        assert_eq!(found.dims(), [3, 2]);
        assert_eq!(bits(&values(&found)), bits(&[&first[..], &last].concat()));
    }
    assert!(ranks.gather(vec![None; 4]).is_err());

    let model = model(&device);
    let others = ranks.broadcast(copies(&model)).unwrap();
    assert_eq!(others.len(), 3);
    for weights in others {
        let other = copies(&put(model.clone(), weights));
        for (name, weights) in copies(&model) {
            assert_eq!(values(&other[&name]), values(&weights), "{name}");
        }
    }
}

#[test]
fn ranks_are_checked_before_they_are_used() {
    /// Adds nothing.
    #[derive(Debug)]
    struct Alone;
    impl AllReduce for Alone {
        fn sum(&self, _: usize, tensor: Tensor<1>) -> Tensor<1> {
            tensor
        }
    }
    ranks(3, 1).0.check().unwrap();
    let devices = vec![Device::flex(); 2];
    let error = Ranks::new(devices.clone(), 1, Arc::new(Alone))
        .check()
        .unwrap_err();
    assert!(error.to_string().contains("should be 3"), "{error}");
    // There is no all-reduce of burn's on the CPU.
    let nccl = Arc::new(Nccl::new(devices.clone()));
    assert!(Ranks::new(devices, 1, nccl).check().is_err());
}

#[test]
fn devices_without_nccl_copy_unless_it_is_wanted() {
    let quiet: fn(&str) = |line| panic!("{line}");
    let (one, several) = (vec![Device::flex()], vec![Device::flex(); 2]);
    for wanted in [Collective::Auto, Collective::Copy] {
        for devices in [&one, &several] {
            let found = Exchange::new(wanted, devices, 1, quiet).unwrap();
            assert!(matches!(found, Exchange::Copies));
        }
    }
    for (devices, word) in [(&one, "several devices"), (&several, "NVIDIA")] {
        let error = Exchange::new(Collective::Nccl, devices, 1, quiet).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    // Before anything is trained.
    let config = config(&["collective=nccl", "devices=2"]).unwrap();
    let error = Plan::new(&config, &several, Default::default(), quiet).unwrap_err();
    assert!(error.to_string().contains("NVIDIA"), "{error}");
}
