//! The adapters wgpu reaches.

use burn::tensor::{Device, DeviceType};

use super::{DeviceInfo, DeviceKind, DeviceSpec};

/// The adapters, each with burn's handle for it.
///
/// burn's handles carry no names, and asking one for its name opens the device. The names come from
/// wgpu itself, asked in the same way as cubecl-wgpu asks: one graphics API, each adapter in the
/// driver's order, of the software adapters only the first.
pub(super) fn devices() -> Vec<(DeviceInfo, Device)> {
    let mut software_seen = false;
    let adapters = adapters().into_iter().filter(|adapter| {
        let software = adapter.device_type == wgpu::DeviceType::Cpu;
        !(software && std::mem::replace(&mut software_seen, true))
    });
    adapters
        .zip(Device::enumerate(DeviceType::Wgpu))
        .enumerate()
        .map(|(index, (adapter, device))| (describe(index, &adapter), device))
        .collect()
}

fn describe(index: usize, adapter: &wgpu::AdapterInfo) -> DeviceInfo {
    let kind = match adapter.device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu,
        wgpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
        wgpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu,
        wgpu::DeviceType::Cpu => DeviceKind::SoftwareGpu,
        wgpu::DeviceType::Other => DeviceKind::OtherGpu,
    };
    DeviceInfo {
        spec: DeviceSpec::Wgpu(Some(index)),
        name: format!("{}, {}", adapter.name, adapter.backend),
        kind,
        software: kind == DeviceKind::SoftwareGpu,
        memory_bytes: None,
        obstacle: None,
    }
}

/// The adapters of the first graphics API with a real GPU, or else of the first with anything.
fn adapters() -> Vec<wgpu::AdapterInfo> {
    let order = [
        wgpu::Backends::METAL,
        wgpu::Backends::VULKAN,
        wgpu::Backends::DX12,
        wgpu::Backends::GL,
    ];
    let built_in = wgpu::Instance::enabled_backend_features();
    let mut first = Vec::new();
    for api in order.into_iter().filter(|api| built_in.contains(*api)) {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: api,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapters: Vec<_> = pollster::block_on(instance.enumerate_adapters(api))
            .iter()
            .map(wgpu::Adapter::get_info)
            .collect();
        if adapters
            .iter()
            .any(|adapter| adapter.device_type != wgpu::DeviceType::Cpu)
        {
            return adapters;
        }
        if first.is_empty() {
            first = adapters;
        }
    }
    first
}
