//! From the device to the host, without blocking.

use std::task::Poll;

use burn::tensor::Tensor;

use crate::{Error, Result};

/// The rows of a matrix, checked: a device that failed silently returns garbage, not an error.
pub(super) async fn rows(matrix: Tensor<2>) -> Result<Vec<Vec<f32>>> {
    let [_, columns] = matrix.dims();
    let values = values(matrix).await?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(Error::Device(
            "the results are not finite numbers; the device failed or ran out of memory, or the weights are damaged"
                .into(),
        ));
    }
    Ok(values
        .chunks_exact(columns.max(1))
        .map(<[f32]>::to_vec)
        .collect())
}

/// All elements as f32, row-major, unchecked.
pub(super) async fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    yield_now().await;
    let data = tensor
        .into_data_async()
        .await
        .map_err(|error| Error::Device(error.to_string()))?;
    data.try_into_vec_as::<f32>()
        .map_err(|error| Error::Device(error.to_string()))
}

/// Lets the executor do something else first. A CPU device has nothing to wait for, so that without this a browser's
/// worker would hear of a call's cancellation only when all of the call's work is done.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
