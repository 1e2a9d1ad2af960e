//! The numbers of open_clip 3.3.0, as checks that run on any device and, compiled to wasm, in a browser.
//!
//! `make_golden.py` wrote the files in `data` (`python make_golden.py OUT`; versions in `data/versions.json`).
//! A check takes the bytes of its files, so that a test can read them from disk and a page can fetch them.

mod attention;
#[cfg(target_arch = "wasm32")]
mod browser;
mod compare;
mod decoding;
mod generate;
mod golden;
mod kernels;
mod model;

pub use attention::attention;
pub use decoding::cached_equals_uncached;
pub use generate::generated_ids;
pub use golden::Golden;
pub use kernels::{
    Checked, attentions, cached_attentions, largest_of_rows, layer_norms, lookups,
    normalised_products, products, quantised_products,
};
#[cfg(not(target_arch = "wasm32"))]
pub use model::gradients;
pub use model::{losses, outputs, outputs_in_fewer_bits};

/// The models that open_clip's numbers were written for.
pub const MODELS: [&str; 6] = [
    "tiny",
    "tiny_nopool",
    "tiny_cascade",
    "tiny_parallel",
    "tiny_quickgelu_ls",
    "tiny_bias",
];

/// A failed check: what differs, by how much and where.
pub type Outcome<T = ()> = Result<T, String>;
