//! Work that a device does again and again, launched once: a step of decoding.

use burn::tensor::{Int, Tensor};

/// A sequence of kernels as a device was given them. Running it again costs the host next to nothing: no tensor is made, no
/// kernel looked up, nothing bound.
///
/// It reads and writes the memory that it was recorded with. What it is to work on is [written over](overwrite()) what it
/// worked on before.
#[derive(Debug)]
pub struct Recording {
    #[cfg(feature = "wgsl")]
    graph: burn_cubecl::cubecl::client::Graph,
    /// The queues of a device belong to threads.
    #[cfg(feature = "wgsl")]
    thread: std::thread::ThreadId,
}

impl Recording {
    /// Records `work` and gives its result, if this pays on the device of `like` and it can; what `work` gives is worth
    /// something after [`Self::run`] only. The work is also done once before, so that everything is compiled and there
    /// is memory for it; it may not send anything to the device, nor read from there.
    ///
    /// # Safety
    /// All tensors that `work` uses have to live as long as the recording.
    #[allow(unsafe_code, reason = "the caller keeps the tensors")]
    pub unsafe fn new<T>(like: &Tensor<1, Int>, mut work: impl FnMut() -> T) -> Option<(Self, T)> {
        #[cfg(feature = "wgsl")]
        {
            let like = crate::gpu::integers(&like.clone().into_dispatch())?;
            // Where a CPU computes, it is busy with that.
            if !crate::gpu::takes(&like) || crate::gpu::is_software(&like) {
                return None;
            }
            let client = &like.client;
            client.graph_prepare().ok()?;
            drop(work());
            client.start_capture().ok()?;
            let result = work();
            let recording = Self {
                graph: client.stop_capture().ok()?,
                thread: std::thread::current().id(),
            };
            Some((recording, result))
        }
        #[cfg(not(feature = "wgsl"))]
        {
            let _ = (like, &mut work);
            None
        }
    }

    /// Whether this thread is the one that it was recorded on: no other can run it.
    pub fn is_of_this_thread(&self) -> bool {
        #[cfg(feature = "wgsl")]
        let same = self.thread == std::thread::current().id();
        #[cfg(not(feature = "wgsl"))]
        let same = false;
        same
    }

    /// Does the work.
    ///
    /// # Errors
    /// The device did not take it.
    #[allow(
        unsafe_code,
        reason = "who recorded it keeps the tensors; others have no access to them"
    )]
    pub fn run(&self) -> Result<(), String> {
        if !self.is_of_this_thread() {
            return Err("recorded work was moved to another thread".into());
        }
        #[cfg(feature = "wgsl")]
        // SAFETY: the tensors live, by the contract of `new`, and this thread's queue orders what is written and read.
        unsafe { self.graph.replay() }.map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// Writes `values` to the memory of a tensor of as many elements, whoever else looks at it. False if its device has no
/// way to.
pub fn overwrite<const D: usize>(tensor: &Tensor<D, Int>, values: &[i32]) -> bool {
    #[cfg(feature = "wgsl")]
    if let Some(tensor) = crate::gpu::integers(&tensor.clone().into_dispatch())
        && tensor.is_contiguous()
        && tensor.meta.num_elements() == values.len()
    {
        use burn::tensor::Bytes;
        let bytes = values.iter().flat_map(|value| value.to_ne_bytes());
        let bytes = Bytes::from_bytes_vec(bytes.collect());
        tensor.client.write(&tensor.handle, bytes);
        return true;
    }
    let _ = (tensor, values);
    false
}
