//! CUDA devices. Driver and NVRTC are loaded at run time, so that the same program runs without.

use burn::tensor::{Device, DeviceType};
use cudarc::driver::result;

use super::{DeviceInfo, DeviceKind, DeviceSpec};

/// The devices the driver lists, each with burn's handle for it; none without a driver.
pub(super) fn devices() -> Vec<(DeviceInfo, Device)> {
    // burn asks whether the driver's library is there before it calls into it, which would panic.
    let devices = Device::enumerate(DeviceType::Cuda);
    if devices.is_empty() {
        return Vec::new();
    }
    let obstacle = obstacle();
    devices
        .into_iter()
        .enumerate()
        .map(|(index, device)| {
            let (name, memory_bytes) = describe(index);
            let info = DeviceInfo {
                spec: DeviceSpec::Cuda(Some(index)),
                name: name.unwrap_or_else(|| "NVIDIA GPU".to_owned()),
                kind: DeviceKind::DiscreteGpu,
                software: false,
                memory_bytes,
                obstacle: obstacle.clone(),
            };
            (info, device)
        })
        .collect()
}

/// Name and memory of a device. The driver has been initialised by listing the devices.
fn describe(index: usize) -> (Option<String>, Option<u64>) {
    let Some(device) = i32::try_from(index)
        .ok()
        .and_then(|index| result::device::get(index).ok())
    else {
        return (None, None);
    };
    #[expect(unsafe_code, reason = "the driver's binding has no safe form")]
    // SAFETY: `device` was returned by `result::device::get`, as is required.
    let memory = unsafe { result::device::total_mem(device) };
    (
        result::device::get_name(device).ok(),
        memory.ok().map(|bytes| bytes as u64),
    )
}

/// What is missing for compiling kernels, which happens when the program runs.
fn obstacle() -> Option<String> {
    #[expect(unsafe_code, reason = "the binding has no safe form")]
    // SAFETY: the call only tries to open libraries by name.
    let nvrtc = unsafe { cudarc::nvrtc::sys::is_culib_present() };
    if !nvrtc {
        return Some(
            "NVRTC (libnvrtc) is not found: install the CUDA toolkit 12.8 or newer, or \
             `pip install nvidia-cuda-nvrtc-cu12` and add its lib folder to LD_LIBRARY_PATH"
                .to_owned(),
        );
    }
    let headers = cubecl_cuda::install::cuda_path()
        .is_some_and(|path| path.join("include").join("cuda_fp16.h").is_file());
    (!headers).then(|| {
        "CUDA's header files are not found: install the CUDA toolkit, or \
         `pip install nvidia-cuda-runtime-cu12`, and set CUDA_PATH to the folder that holds `include`"
            .to_owned()
    })
}
