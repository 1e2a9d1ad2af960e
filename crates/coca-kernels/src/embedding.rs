//! Rows of a table.

use burn::tensor::{DType, Int, Tensor, module};

use crate::quantised::{is_quantised, widened};

/// The rows of `table` `[rows, width]`, in floating point or [quantised](crate::quantised()), that `ids` `[B, L]` name:
/// `[B, L, width]`, in 32 bits if the table has fewer.
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    if table.dtype() == DType::F16 {
        return module::embedding(table, ids).cast(DType::F32);
    }
    if !is_quantised(&table) {
        return module::embedding(table, ids);
    }
    #[cfg(feature = "flex")]
    if let Some(rows) = on_cpu(&table, &ids) {
        return rows;
    }
    #[cfg(feature = "wgsl")]
    if let Some(rows) =
        crate::gpu::lookup(&table.clone().into_dispatch(), &ids.clone().into_dispatch())
    {
        return Tensor::from_dispatch(crate::gpu::wrap(rows));
    }
    module::embedding(widened(table), ids)
}

#[cfg(feature = "flex")]
fn on_cpu(table: &Tensor<2>, ids: &Tensor<2, Int>) -> Option<Tensor<3>> {
    use burn::tensor::{Device, TensorData};
    if table.device() != Device::flex() {
        return None;
    }
    let [batch, length] = ids.dims();
    let ids: Vec<i64> = ids.clone().try_into_data().ok()?.try_into_vec_as().ok()?;
    let ids: Option<Vec<usize>> = ids.into_iter().map(|id| usize::try_from(id).ok()).collect();
    let (rows, width) = crate::flex::quantised_rows(table.clone().into_dispatch(), &ids?)?;
    let data = TensorData::new(rows, [batch, length, width]);
    Some(Tensor::from_data(data, &table.device()))
}
