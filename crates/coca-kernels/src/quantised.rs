//! Matrices that stay in eight or four bits: codes in blocks along the rows that each have a scale.
//!
//! In burn's terms a tensor of type `QFloat`, symmetric, a scale in 32 bits for each block. A product reads a quarter of
//! the memory or less, which is what decoding waits for, and gives what the widened matrix gives up to rounding.
//!
//! Codes of eight bits are numbers, as burn has them. Codes of four bits are places in the [`CODEBOOK`], which burn's own
//! operations would take for numbers: nothing but this crate may compute with such a matrix.

use burn::tensor::{
    DType, Device, Tensor, TensorData,
    quantization::{QuantScheme, QuantStore, QuantValue, ScaleDtype},
};

/// What the codes 0 to 15 of four bits stand for: the levels with the least squared error over blocks of 16 that are
/// normal, Laplace and uniformly distributed, each scaled with the best factor (Lloyd's algorithm). Denser near zero, where
/// weights are, and not symmetric: a block whose largest weight is positive has a negative factor.
pub const CODEBOOK: [i8; 16] = [
    -127, -107, -83, -63, -47, -32, -19, -8, 2, 13, 24, 36, 50, 66, 86, 113,
];

/// The extents a block of codes of eight bits may have.
pub const BLOCKS: [usize; 2] = [16, 32];

/// The extent of a block of codes of four bits.
pub const FOUR_BIT_BLOCK: usize = 16;

/// What a [quantised](quantised()) matrix is made of, row by row.
#[derive(Clone, Debug)]
pub enum Codes {
    /// Numbers.
    Eight(Vec<i8>),
    /// Places in the [`CODEBOOK`], two in a byte, the first in its lower half.
    Four(Vec<u8>),
}

/// A matrix of `codes`, row by row, `[rows, columns]`: each is worth its code, or the code's level, times the scale of its
/// block of `block` neighbours in a row. None if the device has no kernels for it, or rows do not consist of whole blocks.
pub fn quantised(
    codes: Codes,
    scales: Vec<f32>,
    [rows, columns]: [usize; 2],
    block: usize,
    device: &Device,
) -> Option<Tensor<2>> {
    let (count, value, known) = match &codes {
        Codes::Eight(codes) => (codes.len(), QuantValue::Q8S, BLOCKS.contains(&block)),
        Codes::Four(codes) => (2 * codes.len(), FOUR_BITS, block == FOUR_BIT_BLOCK),
    };
    let fits = known
        && columns.is_multiple_of(block)
        && rows.checked_mul(columns) == Some(count)
        && scales.len() == count / block
        && count > 0;
    if !fits || !keeps_quantised(device) {
        return None;
    }
    let scheme = QuantScheme::default()
        .with_value(value)
        .with_store(QuantStore::PackedU32(0))
        .per_block([block as u8], ScaleDtype::F32);
    // The codes as they lie are four or eight in a word of 32 bits, and the scales follow them.
    let mut bytes: Vec<u8> = match codes {
        #[cfg(feature = "flex")]
        Codes::Eight(codes) if *device == Device::flex() => {
            // As it is: burn's way would pack and unpack it, three copies at a time.
            let matrix = crate::flex::quantised_matrix(codes, scales, [rows, columns], scheme);
            return Some(Tensor::from_dispatch(matrix));
        }
        Codes::Eight(codes) => codes.into_iter().map(i8::cast_unsigned).collect(),
        Codes::Four(_) if !keeps_four_bits(device) => return None,
        Codes::Four(codes) => codes,
    };
    bytes.reserve_exact(size_of_val(&scales[..]));
    bytes.extend(scales.iter().flat_map(|scale| scale.to_ne_bytes()));
    let data = TensorData::from_bytes_vec(bytes, [rows, columns], DType::QFloat(scheme));
    Some(Tensor::from_data(data, device))
}

/// How burn calls codes of four bits here.
const FOUR_BITS: QuantValue = QuantValue::Q4F;

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

/// Whether the device has kernels for matrices in four bits.
pub fn keeps_four_bits(device: &Device) -> bool {
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

/// The extent of a matrix' blocks, if a tensor of this type is one of [`quantised`].
pub(crate) fn block_of(dtype: DType) -> Option<usize> {
    let DType::QFloat(scheme) = dtype else {
        return None;
    };
    let size = scheme.block_size()?;
    let &[block] = size.as_slice() else {
        return None;
    };
    Some(usize::from(block))
}

/// The bits of a code, if a tensor of this type is one of [`quantised`].
pub fn bits_of(dtype: DType) -> Option<u32> {
    let DType::QFloat(scheme) = dtype else {
        return None;
    };
    match (scheme.value, block_of(dtype)?) {
        (QuantValue::Q8S, block) if BLOCKS.contains(&block) => Some(8),
        (FOUR_BITS, FOUR_BIT_BLOCK) => Some(4),
        _ => None,
    }
}

/// The matrix in 32 bits.
pub(crate) fn widened(matrix: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "wgsl")]
    if bits_of(matrix.dtype()) == Some(4) {
        let [rows, columns] = matrix.dims();
        let all = Tensor::<1, burn::tensor::Int>::arange(0..rows as i64, &matrix.device())
            .unsqueeze::<2>();
        let found = crate::gpu::lookup(&matrix.clone().into_dispatch(), &all.into_dispatch());
        if let Some(found) = found {
            return Tensor::<3>::from_dispatch(crate::gpu::wrap(found)).reshape([rows, columns]);
        }
    }
    matrix.dequantize()
}
