//! Relaxed SIMD, for engines that have it and for those that do not, from one compilation.
//!
//! A module that holds one relaxed instruction is invalid where they are unknown (Safari, Firefox before 145), whether
//! it would be reached or not. So the compiler may use them, and a second module has ordinary instructions in their
//! place: those that the specification gives for its deterministic profile, but for fused products.

use anyhow::{Context, Result, bail};
use walrus::ir::{
    BinaryOp, Binop, Instr, InstrLocId, InstrSeq, InstrSeqId, LocalGet, LocalSet, TernOp,
    TernaryOp, UnaryOp, Visitor, dfs_in_order,
};
use walrus::{LocalFunction, LocalId, Module, ModuleConfig, ValType};
use wasmparser::{Validator, WasmFeatures};

/// The module with ordinary instructions in the place of relaxed ones.
///
/// # Errors
/// Bytes that are no module, and a relaxed instruction that is not known here.
pub fn lower(wasm: &[u8]) -> Result<Vec<u8>> {
    let mut module = read(wasm)?;
    let affected: Vec<_> = module
        .funcs
        .iter_local()
        .filter(|(_, function)| holds_products(function))
        .map(|(id, _)| id)
        .collect();
    for id in affected {
        let summand = module.locals.add(ValType::V128);
        split_products(module.funcs.get_mut(id).kind.unwrap_local_mut(), summand);
    }
    for (_, function) in module.funcs.iter_local_mut() {
        for sequence in sequences(function) {
            for (instruction, _) in &mut function.block_mut(sequence).instrs {
                replace(instruction);
            }
        }
    }
    let lowered = module.emit_wasm();
    Validator::new_with_features(WasmFeatures::default() - WasmFeatures::RELAXED_SIMD)
        .validate_all(&lowered)
        .context("the module holds a relaxed instruction that has no ordinary one yet; name it in crates/xtask/src/relaxed.rs")?;
    Ok(lowered)
}

fn read(wasm: &[u8]) -> Result<Module> {
    let mut config = ModuleConfig::new();
    config.generate_producers_section(false);
    match config.parse(wasm) {
        Ok(module) => Ok(module),
        Err(error) => bail!("this is not a module of WebAssembly: {error}"),
    }
}

fn sequences(function: &LocalFunction) -> Vec<InstrSeqId> {
    struct Sequences(Vec<InstrSeqId>);
    impl Visitor<'_> for Sequences {
        fn start_instr_seq(&mut self, sequence: &InstrSeq) {
            self.0.push(sequence.id());
        }
    }
    let mut found = Sequences(vec![]);
    dfs_in_order(&mut found, function, function.entry_block());
    found.0
}

fn is_product(instruction: &Instr) -> bool {
    let Instr::TernOp(TernOp { op }) = instruction else {
        return false;
    };
    matches!(op, TernaryOp::F32x4RelaxedMadd)
}

fn holds_products(function: &LocalFunction) -> bool {
    sequences(function).into_iter().any(|sequence| {
        let mut instructions = function.block(sequence).instrs.iter();
        instructions.any(|(instruction, _)| is_product(instruction))
    })
}

/// x y + z, with z on top of the stack: it waits in a local while the other two are multiplied.
fn split_products(function: &mut LocalFunction, summand: LocalId) {
    let binary = |op| Instr::Binop(Binop { op });
    for sequence in sequences(function) {
        let instructions = &mut function.block_mut(sequence).instrs;
        let split = |(instruction, place): (Instr, InstrLocId)| {
            let instructions = if is_product(&instruction) {
                vec![
                    LocalSet { local: summand }.into(),
                    binary(BinaryOp::F32x4Mul),
                    LocalGet { local: summand }.into(),
                    binary(BinaryOp::F32x4Add),
                ]
            } else {
                vec![instruction]
            };
            instructions.into_iter().map(move |part| (part, place))
        };
        *instructions = std::mem::take(instructions)
            .into_iter()
            .flat_map(split)
            .collect();
    }
}

/// What the compiler may choose by itself, where any result will do.
fn replace(instruction: &mut Instr) {
    match instruction {
        Instr::Unop(unary) => {
            unary.op = match unary.op {
                UnaryOp::I32x4RelaxedTruncF32x4S => UnaryOp::I32x4TruncSatF32x4S,
                UnaryOp::I32x4RelaxedTruncF32x4U => UnaryOp::I32x4TruncSatF32x4U,
                UnaryOp::I32x4RelaxedTruncF64x2SZero => UnaryOp::I32x4TruncSatF64x2SZero,
                UnaryOp::I32x4RelaxedTruncF64x2UZero => UnaryOp::I32x4TruncSatF64x2UZero,
                other => other,
            }
        }
        Instr::Binop(binary) => {
            binary.op = match binary.op {
                BinaryOp::F32x4RelaxedMin => BinaryOp::F32x4Min,
                BinaryOp::F32x4RelaxedMax => BinaryOp::F32x4Max,
                BinaryOp::F64x2RelaxedMin => BinaryOp::F64x2Min,
                BinaryOp::F64x2RelaxedMax => BinaryOp::F64x2Max,
                other => other,
            }
        }
        Instr::TernOp(TernOp {
            op:
                TernaryOp::I8x16RelaxedLaneselect
                | TernaryOp::I16x8RelaxedLaneselect
                | TernaryOp::I32x4RelaxedLaneselect
                | TernaryOp::I64x2RelaxedLaneselect,
        }) => *instruction = walrus::ir::V128Bitselect {}.into(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use walrus::FunctionBuilder;

    /// A function of three vectors with these instructions in a block of its own.
    fn module(instructions: Vec<Instr>) -> Vec<u8> {
        let mut module = Module::default();
        let vectors = [ValType::V128; 3];
        let arguments = vectors.map(|vector| module.locals.add(vector));
        let mut builder = FunctionBuilder::new(&mut module.types, &vectors, &[ValType::V128]);
        builder.func_body().block(ValType::V128, |block| {
            for local in arguments {
                block.local_get(local);
            }
            for instruction in instructions {
                block.instr(instruction);
            }
        });
        let function = builder.finish(arguments.to_vec(), &mut module.funcs);
        module.exports.add("f", function);
        module.emit_wasm()
    }

    /// What follows the three arguments, as far as it computes.
    fn instructions(wasm: &[u8]) -> Vec<String> {
        let module = read(wasm).unwrap();
        let (_, function) = module.funcs.iter_local().next().unwrap();
        let block = *sequences(function).last().unwrap();
        let instructions = &function.block(block).instrs;
        let text = |(instruction, _): &(Instr, InstrLocId)| match instruction {
            Instr::LocalSet(_) => "set".into(),
            Instr::LocalGet(_) => "get".into(),
            Instr::Binop(binary) => format!("{:?}", binary.op),
            Instr::Unop(unary) => format!("{:?}", unary.op),
            other => format!("{other:?}"),
        };
        instructions.iter().skip(3).map(text).collect()
    }

    #[test]
    fn a_fused_product_is_a_product_and_a_sum() {
        let op = TernaryOp::F32x4RelaxedMadd;
        let fused = module(vec![TernOp { op }.into()]);
        let lowered = lower(&fused).unwrap();
        assert_eq!(
            instructions(&lowered),
            ["set", "F32x4Mul", "get", "F32x4Add"]
        );
        // What is ordinary stays.
        assert_eq!(lower(&lowered).unwrap(), lowered);
    }

    #[test]
    fn what_the_compiler_may_choose_has_an_ordinary_instruction() {
        let op = TernaryOp::I32x4RelaxedLaneselect;
        let unary = UnaryOp::I32x4RelaxedTruncF32x4S;
        let relaxed = module(vec![
            TernOp { op }.into(),
            walrus::ir::Unop { op: unary }.into(),
        ]);
        let lowered = instructions(&lower(&relaxed).unwrap());
        assert_eq!(lowered[1..], ["I32x4TruncSatF32x4S"]);
        assert!(lowered[0].starts_with("V128Bitselect"), "{lowered:?}");
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let drop_one = Instr::Drop(walrus::ir::Drop {});
        let op = BinaryOp::I8x16RelaxedSwizzle;
        let unknown = module(vec![drop_one, Binop { op }.into()]);
        let error = lower(&unknown).unwrap_err().to_string();
        assert!(error.contains("no ordinary one"), "{error}");
        assert!(lower(b"no module").is_err());
    }
}
