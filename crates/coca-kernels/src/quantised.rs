//! Matrices that stay in eight bits: codes in blocks along the rows that each have a scale.
//!
//! In burn's terms a tensor of type `QFloat`, symmetric, a scale in 32 bits for each block. A product reads a quarter of
//! the memory, which is what decoding waits for, and gives what the widened matrix gives up to rounding.

use burn::tensor::{
    DType, Device, Tensor, TensorData,
    quantization::{QuantScheme, QuantStore, QuantValue, ScaleDtype},
};

/// The extents a block may have.
pub const BLOCKS: [usize; 2] = [16, 32];

/// A matrix of `codes`, row by row, `[rows, columns]`: each is worth its code times the scale of its block of `block`
/// neighbours in a row. None if the device has no kernels for it, or rows do not consist of whole blocks.
pub fn quantised(
    codes: Vec<i8>,
    scales: Vec<f32>,
    [rows, columns]: [usize; 2],
    block: usize,
    device: &Device,
) -> Option<Tensor<2>> {
    let fits = BLOCKS.contains(&block)
        && columns.is_multiple_of(block)
        && rows.checked_mul(columns) == Some(codes.len())
        && scales.len() == codes.len() / block
        && !codes.is_empty();
    if !fits || !keeps_quantised(device) {
        return None;
    }
    let scheme = QuantScheme::default()
        .with_value(QuantValue::Q8S)
        .with_store(QuantStore::PackedU32(0))
        .per_block([block as u8], ScaleDtype::F32);
    #[cfg(feature = "flex")]
    if *device == Device::flex() {
        // As it is: burn's way would pack and unpack it, three copies at a time.
        let matrix = crate::flex::quantised_matrix(codes, scales, [rows, columns], scheme);
        return Some(Tensor::from_dispatch(matrix));
    }
    // The codes as they lie are four in a word of 32 bits, and the scales follow them.
    let mut bytes: Vec<u8> = codes.into_iter().map(i8::cast_unsigned).collect();
    bytes.reserve_exact(size_of_val(&scales[..]));
    bytes.extend(scales.iter().flat_map(|scale| scale.to_ne_bytes()));
    let data = TensorData::from_bytes_vec(bytes, [rows, columns], DType::QFloat(scheme));
    Some(Tensor::from_data(data, device))
}

/// Whether the device has kernels for matrices in eight bits.
pub fn keeps_quantised(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    if *device == Device::flex() {
        return true;
    }
    #[cfg(feature = "wgsl")]
    if crate::gpu::floats([&Tensor::<1>::empty([1], device).into_dispatch()]).is_some() {
        return true;
    }
    let _ = device;
    false
}

/// Whether the device has kernels for matrices in 16 bits beside everything else in 32.
pub fn keeps_halves(device: &Device) -> bool {
    #[cfg(feature = "wgsl")]
    if crate::gpu::floats([&Tensor::<1>::empty([1], device).into_dispatch()]).is_some() {
        return device.supports_dtype(DType::F16);
    }
    let _ = device;
    false
}

/// Whether this is a matrix of [`quantised`].
pub(crate) fn is_quantised<const D: usize>(tensor: &Tensor<D>) -> bool {
    matches!(tensor.dtype(), DType::QFloat(_))
}

/// The extent of the matrix' blocks, if it is one of [`quantised`].
pub(crate) fn block_of(dtype: DType) -> Option<usize> {
    let DType::QFloat(scheme) = dtype else {
        return None;
    };
    let size = scheme.block_size()?;
    let &[block] = size.as_slice() else {
        return None;
    };
    let block = usize::from(block);
    (scheme.value == QuantValue::Q8S && BLOCKS.contains(&block)).then_some(block)
}
