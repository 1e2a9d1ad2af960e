//! How the devices of one process put together what each of them has.
//!
//! Either everything is copied to the first device, or every device is a rank of a group that adds tensors up, with the
//! sum on every rank. Sums are all that data parallel needs: gradients are sums; rows that each rank has some of are
//! gathered as the sum of blocks that are zero elsewhere; and the first rank's weights reach the others as the sum of
//! them and zeros. Adding zero is exact, so what is gathered or spread is the same to the last bit (but for the sign of
//! a zero).

mod buckets;
mod nccl;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail, ensure};
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::device::DeviceKind;
use crate::parallel::side_by_side;
use crate::train::config::Collective;
use crate::train::weights::NamedTensors;
use buckets::{apart, buckets, flat};
use nccl::Nccl;

/// Numbers in a bucket: 64 MiB in single precision. Large enough that what an all-reduce costs by itself does not
/// matter, small enough that a copy of it does not matter either.
const BUCKET: usize = 16 << 20;

/// Adds tensors up over the ranks of a group.
pub trait AllReduce: Debug + Send + Sync {
    /// The sum of all ranks' `tensor`, `[n]`, on the device of this rank's. Every rank calls this from a thread of its
    /// own, as often as the others, in the same order and with the same lengths; a rank that does not come leaves the
    /// others waiting, so nothing that can fail belongs between two calls.
    fn sum(&self, rank: usize, tensor: Tensor<1>) -> Tensor<1>;
}

/// The way between devices.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// Copies from and to the first device, which does the sums.
    Copies,
    /// Sums over ranks.
    AllReduce(Ranks),
}

impl Exchange {
    /// The wanted way between these devices, each with so many lanes. Where it is left open and NCCL fails, `warn` is
    /// told why.
    ///
    /// # Errors
    /// NCCL is wanted and cannot be had.
    pub fn new(
        wanted: Collective,
        devices: &[Device],
        lanes: usize,
        warn: fn(&str),
    ) -> Result<Self> {
        let (several, cuda) = (devices.len() > 1, DeviceKind::are_cuda(devices));
        match wanted {
            Collective::Copy => return Ok(Self::Copies),
            Collective::Auto if !(several && cuda) => return Ok(Self::Copies),
            Collective::Nccl if !several => bail!(
                "collective = \"nccl\" is between several devices; set `devices`, or leave `collective` out"
            ),
            Collective::Nccl if !cuda => bail!(
                "collective = \"nccl\" needs NVIDIA GPUs and a build with --features cuda; use \"auto\" or \"copy\""
            ),
            Collective::Auto | Collective::Nccl => {}
        }
        let all_reduce = Arc::new(Nccl::new(devices.to_vec()));
        let ranks = Ranks::new(devices.to_vec(), lanes, all_reduce);
        let works = if Nccl::is_installed() {
            ranks.check()
        } else {
            Err(anyhow!("the library (libnccl) was not found"))
        };
        match works {
            Ok(()) => Ok(Self::AllReduce(ranks)),
            Err(error) if wanted == Collective::Auto => {
                warn(&format!(
                    "devices copy to each other, for NCCL does not work here: {error:#}"
                ));
                Ok(Self::Copies)
            }
            Err(error) => {
                Err(error).context("collective = \"nccl\" does not work here; use \"copy\"")
            }
        }
    }

    /// The rank of a lane. There is only one where devices copy.
    pub fn rank(&self, lane: usize) -> usize {
        match self {
            Self::Copies => 0,
            Self::AllReduce(ranks) => lane / ranks.lanes,
        }
    }
}

/// A group of devices, one a rank, the first of which holds the model. Every operation is entered for all ranks at once
/// and runs each of them on a thread of its own.
#[derive(Clone, Debug)]
pub struct Ranks {
    devices: Vec<Device>,
    /// On each device.
    lanes: usize,
    /// The most numbers in a bucket.
    bucket: usize,
    all_reduce: Arc<dyn AllReduce>,
}

impl Ranks {
    /// Ranks of so many consecutive lanes each (at least one).
    pub fn new(devices: Vec<Device>, lanes: usize, all_reduce: Arc<dyn AllReduce>) -> Self {
        Self {
            devices,
            lanes: lanes.max(1),
            bucket: BUCKET,
            all_reduce,
        }
    }

    /// What lanes have, by rank. Lanes may be missing at the end.
    pub fn grouped<T>(&self, of_lanes: Vec<T>) -> Vec<Vec<T>> {
        let mut lanes = of_lanes.into_iter();
        let ranks = self.devices.iter();
        ranks
            .map(|_| lanes.by_ref().take(self.lanes).collect())
            .collect()
    }

    /// Runs `job` for every rank, on its device and item. Results keep their order.
    ///
    /// # Errors
    /// The first error of a job.
    pub fn on_every<I: Send, O: Send>(
        &self,
        items: Vec<I>,
        job: impl Fn(usize, &Device, I) -> Result<O> + Sync,
    ) -> Result<Vec<O>> {
        let ranks = self.devices.iter().zip(items).enumerate().collect();
        side_by_side(ranks, |(rank, (device, item))| job(rank, device, item))
    }

    /// The sum of each name's tensors, `[n]`, on the first rank's device. A rank may lack names.
    ///
    /// # Errors
    /// A rank panicked.
    pub fn sum(&self, of_ranks: Vec<NamedTensors>) -> Result<NamedTensors> {
        let sums = self.reduce(of_ranks, |rank| rank == 0)?;
        Ok(sums.into_iter().next().unwrap_or_default())
    }

    /// The first rank's tensors, `[n]` each, on the devices of all the others.
    ///
    /// # Errors
    /// A rank panicked.
    pub fn broadcast(&self, tensors: NamedTensors) -> Result<Vec<NamedTensors>> {
        let mut of_ranks = vec![tensors];
        of_ranks.resize(self.devices.len(), NamedTensors::new());
        let found = self.reduce(of_ranks, |rank| rank > 0)?;
        Ok(found.into_iter().skip(1).collect())
    }

    /// All ranks' rows, `[n, d]` in all, in the ranks' order, on the device of every rank. A rank may have none.
    ///
    /// # Errors
    /// The rows are not equally long, there are none, or a rank panicked.
    pub fn gather(&self, of_ranks: Vec<Option<Tensor<2>>>) -> Result<Vec<Tensor<2>>> {
        let mut rows = of_ranks.iter().flatten().map(Tensor::dims);
        let [_, width] = rows.next().ok_or_else(|| anyhow!("no rank has rows"))?;
        ensure!(rows.all(|dims| dims[1] == width), "rows of several lengths");
        let mut count = 0;
        let places: Vec<_> = of_ranks
            .into_iter()
            .map(|rows| {
                let start = count;
                count += rows.as_ref().map_or(0, |rows| rows.dims()[0]);
                (start, rows)
            })
            .collect();
        self.on_every(places, |rank, device, (start, rows)| {
            let mut block = Tensor::<2>::zeros([count, width], (device, DType::F32));
            if let Some(rows) = rows {
                let end = start + rows.dims()[0];
                block = block.slice_assign([start..end, 0..width], rows.cast(DType::F32));
            }
            let sum = self.all_reduce.sum(rank, block.reshape([count * width]));
            Ok(sum.reshape([count, width]))
        })
    }

    /// Adds a few numbers up.
    ///
    /// # Errors
    /// A rank panicked, or the sum is wrong somewhere.
    pub fn check(&self) -> Result<()> {
        let numbers: Vec<usize> = (1..=self.devices.len()).collect();
        let expected = numbers.iter().sum::<usize>() as f32;
        let sums = self.on_every(numbers, |rank, device, number| {
            let number = TensorData::from([number as f32]);
            let sum = self
                .all_reduce
                .sum(rank, Tensor::from_data(number, (device, DType::F32)));
            let sum = sum.into_data().try_into_vec_as::<f32>();
            sum.map_err(|error| anyhow!("reading a sum: {error:?}"))
        })?;
        ensure!(
            sums.iter().all(|sum| *sum == [expected]),
            "the devices' sum should be {expected}, but is {sums:?}"
        );
        Ok(())
    }

    /// The sum of each name's tensors on those ranks that keep it.
    fn reduce(
        &self,
        of_ranks: Vec<NamedTensors>,
        keeps: impl Fn(usize) -> bool + Sync,
    ) -> Result<Vec<NamedTensors>> {
        let buckets = buckets(&of_ranks, self.bucket);
        self.on_every(of_ranks, |rank, device, mut tensors| {
            let mut sums = NamedTensors::new();
            for bucket in &buckets {
                let sum = self
                    .all_reduce
                    .sum(rank, flat(bucket, &mut tensors, device));
                if keeps(rank) {
                    sums.extend(apart(bucket, &sum));
                }
            }
            Ok(sums)
        })
    }
}

/// `tensor` on `device`.
///
/// Copies between devices are made one at a time: burn makes one of a send and a receive, and with another thread's
/// between them a receive could get what belongs to the other.
pub fn copied<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    static ONE: Mutex<()> = Mutex::new(());
    if tensor.device() == *device {
        return tensor;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    tensor.to_device(device)
}
