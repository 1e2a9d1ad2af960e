//! Four numbers at a time: what a vector register of WebAssembly holds.

#![allow(
    unsafe_code,
    reason = "registers are loaded from and stored to pointers; the callers check the bounds of whole tiles"
)]

#[cfg(target_arch = "wasm32")]
use core::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_mul, f32x4_relaxed_madd, f32x4_splat,
    i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4_add, i32x4_dot_i16x8,
    i32x4_extend_high_i16x8, i32x4_extend_low_i16x8, i32x4_shuffle, i32x4_splat, v128, v128_load,
    v128_load32_splat, v128_store,
};

/// Four numbers.
#[cfg(target_arch = "wasm32")]
#[derive(Clone, Copy)]
pub struct Four(v128);

#[cfg(target_arch = "wasm32")]
impl Four {
    /// The same number four times.
    #[inline(always)]
    pub fn splat(x: f32) -> Self {
        Self(f32x4_splat(x))
    }

    /// # Safety
    /// `from` is valid for reads of four numbers.
    #[inline(always)]
    pub unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by contract; vectors need no alignment.
        Self(unsafe { v128_load(from.cast()) })
    }

    /// The number at `from` four times.
    ///
    /// # Safety
    /// `from` is valid for reads.
    #[inline(always)]
    pub unsafe fn load_splat(from: *const f32) -> Self {
        // SAFETY: by contract.
        Self(unsafe { v128_load32_splat(from.cast()) })
    }

    /// # Safety
    /// `to` is valid for writes of four numbers.
    #[inline(always)]
    pub unsafe fn store(self, to: *mut f32) {
        // SAFETY: by contract.
        unsafe { v128_store(to.cast(), self.0) }
    }

    /// Sixteen codes as numbers.
    ///
    /// # Safety
    /// `from` is valid for reads of sixteen codes.
    #[inline(always)]
    pub unsafe fn load_codes(from: *const i8) -> [Self; 4] {
        // SAFETY: by contract; vectors need no alignment.
        let codes = unsafe { v128_load(from.cast()) };
        let (low, high) = (
            i16x8_extend_low_i8x16(codes),
            i16x8_extend_high_i8x16(codes),
        );
        [
            i32x4_extend_low_i16x8(low),
            i32x4_extend_high_i16x8(low),
            i32x4_extend_low_i16x8(high),
            i32x4_extend_high_i16x8(high),
        ]
        .map(|four| Self(f32x4_convert_i32x4(four)))
    }

    /// self + x
    #[inline(always)]
    pub fn plus(self, x: Self) -> Self {
        Self(f32x4_add(self.0, x.0))
    }

    /// self · x
    #[inline(always)]
    pub fn times(self, x: Self) -> Self {
        Self(f32x4_mul(self.0, x.0))
    }

    /// self + x y, fused where the engine has relaxed SIMD and the processor can. For the other engines the instruction is
    /// taken out of the finished module (`relaxed.rs` of xtask).
    ///
    /// The loop around it needs `target_feature(enable = "relaxed-simd")`, or it is a call. The feature is not on for all crates,
    /// as some do not compile with it (macerator 0.5.2).
    #[inline(always)]
    pub fn plus_product(self, x: Self, y: Self) -> Self {
        Self(f32x4_relaxed_madd(x.0, y.0, self.0))
    }

    /// The sum of the four.
    #[inline(always)]
    pub fn total(self) -> f32 {
        let pairs = f32x4_add(self.0, i32x4_shuffle::<2, 3, 0, 1>(self.0, self.0));
        f32x4_extract_lane::<0>(pairs) + f32x4_extract_lane::<1>(pairs)
    }

    /// Rows become columns.
    #[inline(always)]
    pub fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        let (ab, cd) = (
            i32x4_shuffle::<0, 4, 1, 5>(a.0, b.0),
            i32x4_shuffle::<0, 4, 1, 5>(c.0, d.0),
        );
        let (ab_high, cd_high) = (
            i32x4_shuffle::<2, 6, 3, 7>(a.0, b.0),
            i32x4_shuffle::<2, 6, 3, 7>(c.0, d.0),
        );
        [
            Self(i32x4_shuffle::<0, 1, 4, 5>(ab, cd)),
            Self(i32x4_shuffle::<2, 3, 6, 7>(ab, cd)),
            Self(i32x4_shuffle::<0, 1, 4, 5>(ab_high, cd_high)),
            Self(i32x4_shuffle::<2, 3, 6, 7>(ab_high, cd_high)),
        ]
    }
}

/// Four whole numbers.
#[cfg(target_arch = "wasm32")]
#[derive(Clone, Copy)]
pub struct Whole(v128);

#[cfg(target_arch = "wasm32")]
impl Whole {
    /// Nothing.
    #[inline(always)]
    pub fn zero() -> Self {
        Self(i32x4_splat(0))
    }

    /// Adds sixteen products x · code, four to each number.
    ///
    /// # Safety
    /// Both are valid for reads of sixteen.
    #[inline(always)]
    pub unsafe fn plus_products(self, x: *const i16, codes: *const i8) -> Self {
        // SAFETY: by contract; vectors need no alignment.
        let (first, second, codes) = unsafe {
            (
                v128_load(x.cast()),
                v128_load(x.add(8).cast()),
                v128_load(codes.cast()),
            )
        };
        let low = i32x4_dot_i16x8(first, i16x8_extend_low_i8x16(codes));
        let high = i32x4_dot_i16x8(second, i16x8_extend_high_i8x16(codes));
        Self(i32x4_add(self.0, i32x4_add(low, high)))
    }

    /// The numbers in floating point.
    #[inline(always)]
    pub fn to_four(self) -> Four {
        Four(f32x4_convert_i32x4(self.0))
    }
}

/// The same elsewhere.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy)]
pub struct Whole([i32; 4]);

#[cfg(not(target_arch = "wasm32"))]
impl Whole {
    pub fn zero() -> Self {
        Self([0; 4])
    }

    /// # Safety
    /// Both are valid for reads of sixteen.
    pub unsafe fn plus_products(mut self, x: *const i16, codes: *const i8) -> Self {
        // SAFETY: by contract.
        let (x, codes) = unsafe {
            (
                x.cast::<[i16; 16]>().read_unaligned(),
                codes.cast::<[i8; 16]>().read(),
            )
        };
        for (at, (x, code)) in x.into_iter().zip(codes).enumerate() {
            self.0[at / 2 % 4] += i32::from(x) * i32::from(code);
        }
        self
    }

    pub fn to_four(self) -> Four {
        Four(self.0.map(|number| number as f32))
    }
}

/// The same elsewhere, so that native tests can run the kernels of the browser.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy)]
pub struct Four([f32; 4]);

#[cfg(not(target_arch = "wasm32"))]
impl Four {
    pub fn splat(x: f32) -> Self {
        Self([x; 4])
    }

    /// # Safety
    /// `from` is valid for reads of four numbers.
    pub unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by contract; an array of numbers is aligned as one of them.
        Self(unsafe { from.cast::<[f32; 4]>().read() })
    }

    /// # Safety
    /// `from` is valid for reads.
    pub unsafe fn load_splat(from: *const f32) -> Self {
        // SAFETY: by contract.
        Self([unsafe { *from }; 4])
    }

    /// # Safety
    /// `from` is valid for reads of sixteen codes.
    pub unsafe fn load_codes(from: *const i8) -> [Self; 4] {
        // SAFETY: by contract.
        let codes = unsafe { from.cast::<[i8; 16]>().read() };
        std::array::from_fn(|four| Self(std::array::from_fn(|i| f32::from(codes[4 * four + i]))))
    }

    /// # Safety
    /// `to` is valid for writes of four numbers.
    pub unsafe fn store(self, to: *mut f32) {
        // SAFETY: by contract; an array of numbers is aligned as one of them.
        unsafe { to.cast::<[f32; 4]>().write(self.0) }
    }

    pub fn plus(self, x: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + x.0[i]))
    }

    pub fn times(self, x: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * x.0[i]))
    }

    pub fn plus_product(self, x: Self, y: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + x.0[i] * y.0[i]))
    }

    pub fn total(self) -> f32 {
        let [a, b, c, d] = self.0;
        (a + c) + (b + d)
    }

    pub fn transpose(rows: [Self; 4]) -> [Self; 4] {
        std::array::from_fn(|column| Self(rows.map(|row| row.0[column])))
    }
}

impl Four {
    /// Nothing.
    #[inline(always)]
    pub fn zero() -> Self {
        Self::splat(0.0)
    }

    /// The numbers one by one.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 4] {
        let mut numbers = [0.0; 4];
        // SAFETY: the array holds four numbers.
        unsafe { self.store(numbers.as_mut_ptr()) };
        numbers
    }
}
