//! Pieces of WGSL that several kernels are made of.

use burn::tensor::DType;

use super::program::READ;

/// What the elements of a tensor are in memory. All computing is in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point, where the device has `shader-f16`.
    F16,
}

impl Stored {
    /// The type of a tensor that the kernels take.
    pub fn of(dtype: DType) -> Self {
        match dtype {
            DType::F16 => Self::F16,
            _ => Self::F32,
        }
    }

    /// Its name in WGSL, of one element or of four.
    pub fn name(self, wide: bool) -> &'static str {
        match (self, wide) {
            (Self::F32, false) => "f32",
            (Self::F32, true) => "vec4<f32>",
            (Self::F16, false) => "f16",
            (Self::F16, true) => "vec4<f16>",
        }
    }
}

/// The first line of a kernel with tensors of these types.
pub fn header(types: &[Stored]) -> &'static str {
    if types.contains(&Stored::F16) {
        "enable f16;\n"
    } else {
        ""
    }
}

/// A buffer to read from.
pub fn input(binding: usize, name: &str, element: &str) -> String {
    format!("@group(0) @binding({binding}) var<storage, {READ}> {name}: array<{element}>;\n")
}

/// A buffer to write to.
pub fn output(binding: usize, name: &str, element: &str) -> String {
    format!("@group(0) @binding({binding}) var<storage, read_write> {name}: array<{element}>;\n")
}

/// `first`, then `separator` and the next, ..: text for each of 0..n.
pub fn each(n: usize, f: impl Fn(usize) -> String) -> String {
    (0..n).map(f).collect()
}

/// `codes(word)`: four signed codes, the first in the lowest byte, as numbers.
pub fn codes() -> &'static str {
    "fn codes(word: u32) -> vec4<f32> {
let shifted = vec4<u32>(word << 24u, word << 16u, word << 8u, word);
return vec4<f32>(vec4<i32>(shifted) >> vec4<u32>(24u));
}
"
}

/// `all(mine, me)`: the sum of what the threads of a workgroup have, a power of two of them.
pub fn all(threads: usize) -> String {
    format!(
        "var<workgroup> of_all: array<f32, {threads}>;
fn all(mine: f32, me: u32) -> f32 {{
of_all[me] = mine;
workgroupBarrier();
for (var half = {}u; half > 0u; half /= 2u) {{
if (me < half) {{ of_all[me] += of_all[me + half]; }}
workgroupBarrier();
}}
let sum = of_all[0];
workgroupBarrier();
return sum;
}}
",
        threads / 2
    )
}
