//! From a kernel's text to work on the device.

use std::fmt::Debug;
use std::hash::Hash;

use burn_cubecl::cubecl::{
    CubeCount, CubeKernel, PrecompiledSource,
    ir::{AddressType, ElemType, UIntKind, attributes::BufferIOAttr, metadata::Info},
    prelude::{ExecutionMode, KernelDefinition, KernelId, KernelMetadata, KernelSettings, Scope},
    server::{KernelArguments, MetadataBindingInfo},
};
use burn_cubecl::tensor::CubeTensor;

/// A kernel for one combination of types and block sizes. Equal ones are compiled once.
pub trait Program: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// Threads of a workgroup, along each dimension.
    fn workgroup(&self) -> (u32, u32, u32);

    /// WGSL with the entry point `main`. Bindings 0, 1, .. are the inputs, then the outputs, then [`PARAMETERS`].
    /// Every one must be used: the layout of the bindings is made from those that are.
    fn text(&self) -> String;
}

/// Numbers that a kernel is given, at most.
pub const PARAMETERS: usize = 24;

/// The declaration of the numbers as `p`, at a binding.
pub fn parameters(binding: usize) -> String {
    format!("@group(0) @binding({binding}) var<storage, read> p: array<u32, {PARAMETERS}>;\n")
}

/// How a buffer is declared that is only read. Where burn puts several tensors into one buffer, which it does outside of
/// browsers, a buffer may not be read-only for one of them and writable for another.
pub const READ: &str = if cfg!(target_family = "wasm") {
    "read"
} else {
    "read_write"
};

/// Puts `groups` workgroups to work.
pub fn launch<P: Program>(
    program: P,
    groups: [usize; 3],
    inputs: &[&CubeTensor],
    outputs: &[&CubeTensor],
    numbers: &[usize],
) {
    launch_on(program, groups, inputs, &[], outputs, numbers);
}

/// [`launch`] of a kernel that also reads and writes `changed`, whose bindings are between inputs and outputs.
pub fn launch_on<P: Program>(
    program: P,
    groups: [usize; 3],
    inputs: &[&CubeTensor],
    changed: &[&CubeTensor],
    outputs: &[&CubeTensor],
    numbers: &[usize],
) {
    debug_assert!(numbers.len() <= PARAMETERS, "{} numbers", numbers.len());
    let Some(client) = outputs.first().map(|output| &output.client) else {
        return;
    };
    let with = |arguments: KernelArguments, tensor: &CubeTensor, io| {
        arguments.with_buffer_io(tensor.handle.clone().binding(), io)
    };
    let arguments = inputs.iter().fold(KernelArguments::new(), |a, input| {
        with(a, input, BufferIOAttr::ReadOnly)
    });
    let arguments = changed.iter().fold(arguments, |a, tensor| {
        with(a, tensor, BufferIOAttr::ReadWrite)
    });
    let arguments = outputs.iter().fold(arguments, |a, output| {
        with(a, output, BufferIOAttr::WriteOnly)
    });
    let number = |at: usize| numbers.get(at).copied().unwrap_or(0) as u32;
    let pairs = (0..PARAMETERS / 2)
        .map(|at| u64::from(number(2 * at)) | u64::from(number(2 * at + 1)) << 32)
        .collect();
    let arguments = arguments.with_info(MetadataBindingInfo::custom(pairs));
    let [x, y, z] = groups.map(|count| count as u32);
    client.launch(
        Box::new(Job(program)),
        CubeCount::Static(x, y, z),
        arguments,
    );
}

/// A program as cubecl takes it.
struct Job<P>(P);

impl<P: Program> KernelMetadata for Job<P> {
    fn id(&self) -> KernelId {
        KernelId::new::<P>()
            .info(self.0.clone())
            .cube_dim(self.0.workgroup().into())
            // Loops end by themselves; burn adds counters to those of checked kernels.
            .mode(ExecutionMode::Unchecked)
    }

    fn address_type(&self) -> ElemType {
        UIntKind::U32.into()
    }
}

impl<P: Program> CubeKernel for Job<P> {
    fn define(&self) -> KernelDefinition {
        let settings = KernelSettings::new(
            self.0.workgroup().into(),
            ExecutionMode::Unchecked,
            AddressType::U32,
        );
        KernelDefinition {
            body: Scope::root(settings.clone()),
            settings,
            info: Info::default(),
        }
    }

    fn source(&self) -> Option<PrecompiledSource> {
        Some(PrecompiledSource {
            source: self.0.text(),
            entrypoint_name: "main".into(),
            lang: "wgsl",
        })
    }
}
