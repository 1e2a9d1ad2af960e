//! Pieces of WGSL that several kernels are made of.

use burn::tensor::DType;

use super::program::READ;
use crate::quantised::CODEBOOK;

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

/// `codes(word)`: four signed codes, the first in the lowest byte, as numbers. Code + 128 is put into the last bits of 2²³:
/// GPUs convert integers at a fraction of the speed.
pub fn codes() -> &'static str {
    "fn codes(word: u32) -> vec4<f32> {
let w = word ^ 0x80808080u;
let bytes = vec4<u32>(w & 0xffu, (w >> 8u) & 0xffu, (w >> 16u) & 0xffu, w >> 24u);
return bitcast<vec4<f32>>(bytes | vec4<u32>(0x4b000000u)) - 8388736.0;
}
"
}

/// `nibbles(half)`: the levels of four codes of four bits, the first in the lowest; out of the `table` that [`fill_table`]
/// fills, or where there is none by taking them out of constants.
pub fn nibbles(table: bool) -> String {
    let words = [0, 1, 2, 3].map(|word| {
        u32::from_le_bytes([0, 1, 2, 3].map(|at| CODEBOOK[4 * word + at].cast_unsigned()))
    });
    let (memory, name) = match table {
        true => ("var<workgroup> table: array<f32, 16>;\n", "table"),
        false => ("", "level"),
    };
    let look = |at: usize| {
        let code = format!("(half >> {}u) & 15u", 4 * at);
        match table {
            true => format!("{name}[{code}]"),
            false => format!("{name}({code})"),
        }
    };
    format!(
        "{memory}fn level(code: u32) -> f32 {{
let low = select({}u, {}u, (code & 4u) != 0u);
let high = select({}u, {}u, (code & 4u) != 0u);
let word = select(low, high, (code & 8u) != 0u);
return f32(bitcast<i32>(word << (24u - 8u * (code & 3u))) >> 24u);
}}
fn nibbles(half: u32) -> vec4<f32> {{
return vec4<f32>({}, {}, {}, {});
}}
",
        words[0],
        words[1],
        words[2],
        words[3],
        look(0),
        look(1),
        look(2),
        look(3)
    )
}

/// Fills the table of [`nibbles`], by the threads of a workgroup together.
pub fn fill_table(thread: &str) -> String {
    format!("if ({thread} < 16u) {{ table[{thread}] = level({thread}); }}\nworkgroupBarrier();\n")
}

/// `all(mine, me)`: the sum of what the threads of a workgroup have, a multiple of eight of them.
pub fn all(threads: usize) -> String {
    format!(
        "var<workgroup> of_each: array<f32, {threads}>;
var<workgroup> of_eight: array<f32, 8>;
fn all(mine: f32, me: u32) -> f32 {{
of_each[me] = mine;
workgroupBarrier();
if (me < 8u) {{
var sum = 0.0;
for (var i = 0u; i < {}u; i++) {{ sum += of_each[me + 8u * i]; }}
of_eight[me] = sum;
}}
workgroupBarrier();
return ((of_eight[0] + of_eight[1]) + (of_eight[2] + of_eight[3])) + ((of_eight[4] + of_eight[5]) + (of_eight[6] + of_eight[7]));
}}
",
        threads / 8
    )
}
