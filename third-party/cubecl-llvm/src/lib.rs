//! A stand-in for `cubecl-llvm` 0.11.3.
//!
//! `cubecl-cuda` depends on `cubecl-llvm` unconditionally, and that crate's build script downloads
//! an LLVM bundle from the web, which fails wherever only package registries are reachable. This
//! workspace compiles CUDA kernels through CUDA C++ and NVRTC (feature `cpp` of `cubecl-cuda`), so
//! the LLVM path is never taken: this crate declares the names `cubecl-cuda` mentions and refuses
//! to compile a kernel should the path be taken after all.

use cubecl_core::{
    ir::{DeviceProperties, nvidia::SmArch},
    prelude::KernelDefinition,
};
use cubecl_server::{compiler::CompilationError, kernel::BufferIOAttr};

/// The NVPTX side of the LLVM compiler.
pub mod nvptx {
    /// PTX versions.
    pub mod ptx_version {
        use std::fmt;

        /// A PTX version; this stand-in knows none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// No version: the CUDA C++ path does not ask for one.
            #[must_use]
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {}
            }
        }
    }
}

/// What the LLVM targets share.
pub mod shared {
    /// The features LLVM lowers.
    pub mod lowered_features {
        use super::super::DeviceProperties;

        /// The GPU family a kernel is compiled for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA.
            Nvptx,
        }

        /// Would remove the features LLVM cannot lower. Only called for the LLVM backend.
        pub fn restrict_features(_props: &mut DeviceProperties, _target: GpuTarget) {}
    }
}

/// The target of [`PlironCompiler`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA.
    Nvptx,
}

/// The compiler that this stand-in does not contain.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// The target.
    pub target: LlvmTarget,
}

/// Options of [`PlironCompiler`].
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// AMD architecture; never set here.
    pub arch: Option<core::convert::Infallible>,
    /// NVIDIA architecture.
    pub sm_arch: Option<SmArch>,
    /// PTX version to emit.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether scalars travel in the parameter block.
    pub grid_constants: bool,
}

/// What [`PlironCompiler`] makes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PlironArtifact {
    /// Code for NVIDIA.
    NvptxCode(NvptxModule),
}

/// A compiled NVIDIA module.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX assembly, NUL-terminated.
    pub ptx: Vec<core::ffi::c_char>,
    /// The intermediate representation, for logs.
    pub ir: String,
    /// Shared memory per launch, in bytes.
    pub shared_memory_size: usize,
    /// How each buffer is accessed, in binding order.
    pub io: Vec<BufferIOAttr>,
}

impl PlironCompiler {
    /// Refuses: there is no LLVM here.
    ///
    /// # Errors
    /// Always.
    pub fn compile(
        &mut self,
        _kernel: KernelDefinition,
        _options: &PlironOptions,
    ) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build has no LLVM: cubecl-cuda must be built with its feature `cpp`"
                .to_owned(),
            backtrace: Default::default(),
        })
    }

    /// The language kernels would be written in.
    #[must_use]
    pub fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
