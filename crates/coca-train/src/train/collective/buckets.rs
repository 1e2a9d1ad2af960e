//! Many tensors in few flat ones: an all-reduce of hundreds of small tensors would wait for each.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor};

use crate::train::weights::NamedTensors;

/// Names and lengths of the tensors in a flat one, in their order.
pub type Bucket = Vec<(String, usize)>;

/// All names that any rank has, in alphabetical order, in buckets of at most `limit` numbers; a longer tensor has a
/// bucket of its own.
pub fn buckets(of_ranks: &[NamedTensors], limit: usize) -> Vec<Bucket> {
    let every = of_ranks.iter().flatten();
    let lengths: BTreeMap<&String, usize> = every
        .map(|(name, tensor)| (name, tensor.dims()[0]))
        .collect();
    let mut buckets = Vec::<Bucket>::new();
    let mut room = 0;
    for (name, length) in lengths {
        let piece = (name.clone(), length);
        match buckets.last_mut().filter(|_| length <= room) {
            Some(bucket) => bucket.push(piece),
            None => {
                buckets.push(vec![piece]);
                room = limit;
            }
        }
        room = room.saturating_sub(length);
    }
    buckets
}

/// The bucket's tensors, taken out of `tensors`, as one in single precision; zeros for those that are not there.
pub fn flat(bucket: &Bucket, tensors: &mut NamedTensors, device: &Device) -> Tensor<1> {
    let zeros = |length| Tensor::<1>::zeros([length], (device, DType::F32));
    if !bucket.iter().any(|(name, _)| tensors.contains_key(name)) {
        return zeros(bucket.iter().map(|(_, length)| length).sum());
    }
    let pieces = bucket.iter().map(|(name, length)| {
        let tensor = tensors.remove(name);
        tensor.map_or_else(|| zeros(*length), |tensor| tensor.cast(DType::F32))
    });
    Tensor::cat(pieces.collect(), 0)
}

/// The tensors of a flat one, by name.
pub fn apart(bucket: &Bucket, flat: &Tensor<1>) -> impl Iterator<Item = (String, Tensor<1>)> {
    let mut start = 0;
    bucket.iter().map(move |(name, length)| {
        let piece = flat.clone().narrow(0, start, *length);
        start += length;
        (name.clone(), piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.into_data().try_into_vec_as::<f32>().unwrap()
    }

    fn tensors(pieces: &[(&str, &[f32])]) -> NamedTensors {
        let piece = |&(name, values): &(&str, &[f32])| {
            let data = TensorData::from(values);
            (name.to_string(), Tensor::from_data(data, &Device::flex()))
        };
        pieces.iter().map(piece).collect()
    }

    #[test]
    fn buckets_hold_every_name_once_and_not_too_much() {
        let ranks = [
            tensors(&[("a", &[1.0]), ("d", &[4.0, 4.0]), ("e", &[5.0])]),
            tensors(&[("b", &[2.0; 2]), ("c", &[3.0; 9]), ("a", &[1.0])]),
        ];
        let names: Vec<Vec<String>> = buckets(&ranks, 3)
            .into_iter()
            .map(|bucket| bucket.into_iter().map(|(name, _)| name).collect())
            .collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c"], vec!["d", "e"]]);
        assert_eq!(buckets(&ranks, 1000).len(), 1);
        assert!(buckets(&[NamedTensors::new()], 3).is_empty());
    }

    #[test]
    fn what_is_put_together_comes_apart() {
        let full = tensors(&[("a", &[1.0]), ("b", &[2.0, 3.0]), ("c", &[4.0])]);
        let [bucket] = &buckets(std::slice::from_ref(&full), 100)[..] else {
            panic!("one bucket");
        };
        let device = Device::flex();
        let mut some = full.clone();
        some.remove("b");
        let joined = flat(bucket, &mut some, &device);
        assert!(some.is_empty());
        let found: Vec<_> = apart(bucket, &joined)
            .map(|(name, tensor)| (name, values(tensor)))
            .collect();
        let expected = [
            ("a".to_string(), vec![1.0]),
            ("b".to_string(), vec![0.0, 0.0]),
            ("c".to_string(), vec![4.0]),
        ];
        assert_eq!(found, expected);
        let nothing = flat(bucket, &mut NamedTensors::new(), &device);
        assert_eq!(values(nothing), [0.0; 4]);
    }
}
