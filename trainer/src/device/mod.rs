//! The devices a run can use: what is there, which one is chosen and why.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "wgpu")]
mod gpu;

use std::{fmt, num::NonZero, str::FromStr, thread};

use burn::tensor::{DType, Device};

use crate::error::{Error, Result};

/// A device as a user names it: `auto`, `cpu`, `wgpu`, `wgpu:1`, `cuda`, `cuda:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceSpec {
    /// The first CUDA device, else the first real GPU that wgpu reaches, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The adapter with this number among those wgpu reaches; without a number the first real GPU,
    /// or the first software adapter where there is nothing else.
    Wgpu(Option<usize>),
    /// The CUDA device with this number, by default 0.
    Cuda(Option<usize>),
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Wgpu(Some(index)) => write!(f, "wgpu:{index}"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(index)) => write!(f, "cuda:{index}"),
        }
    }
}

/// A text that names no kind of device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device; write auto, cpu, wgpu, wgpu:N, cuda or cuda:N")]
pub struct UnknownDevice(String);

impl FromStr for DeviceSpec {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Self, UnknownDevice> {
        let unknown = || UnknownDevice(text.to_owned());
        let (kind, index) = match text.split_once(':') {
            Some((kind, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (kind, Some(digits.parse().map_err(|_| unknown())?))
            }
            Some(_) => return Err(unknown()),
            None => (text, None),
        };
        match (kind, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("wgpu", index) => Ok(Self::Wgpu(index)),
            ("cuda", index) => Ok(Self::Cuda(index)),
            _ => Err(unknown()),
        }
    }
}

/// What sort of hardware a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// The CPU.
    Cpu,
    /// A graphics card.
    DiscreteGpu,
    /// A GPU that shares the CPU's memory.
    IntegratedGpu,
    /// A GPU of a virtual machine.
    VirtualGpu,
    /// A GPU whose driver does not say.
    OtherGpu,
    /// A program on the CPU that acts as a GPU: for tests, and far slower than the CPU itself.
    SoftwareGpu,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::DiscreteGpu => "graphics card",
            Self::IntegratedGpu => "integrated GPU",
            Self::VirtualGpu => "virtual GPU",
            Self::OtherGpu => "GPU",
            Self::SoftwareGpu => "software adapter",
        })
    }
}

/// A device of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// How to name it: `cuda:0`.
    pub spec: DeviceSpec,
    /// The hardware's name: `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// What sort of hardware.
    pub kind: DeviceKind,
    /// Whether a program on the CPU only acts as this device.
    pub software: bool,
    /// Its memory in bytes, where the driver says.
    pub memory_bytes: Option<u64>,
    /// Why it cannot be used, and what to do about it.
    pub obstacle: Option<String>,
}

/// The device a run uses.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// burn's handle.
    pub device: Device,
    /// Which one, with its number: `cuda:0`.
    pub spec: DeviceSpec,
    /// The hardware's name.
    pub name: String,
    /// Why this one, as a clause: `the first CUDA device`.
    pub reason: String,
}

impl Chosen {
    /// Whether the device computes in `dtype`, rather than only storing it.
    ///
    /// The CPU computes in bfloat16 by way of float32, slowly. wgpu's shading language has no
    /// bfloat16, and its float16 has not been shown to agree with the CPU: float32 only.
    pub fn supports(&self, dtype: DType) -> bool {
        match self.spec {
            DeviceSpec::Wgpu(_) => dtype == DType::F32,
            DeviceSpec::Cpu => matches!(dtype, DType::F32 | DType::F16 | DType::BF16),
            DeviceSpec::Auto | DeviceSpec::Cuda(_) => self.device.supports_dtype(dtype),
        }
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.spec, self.name)
    }
}

/// Every device of this machine that this build can use, in the order in which `auto` tries them.
pub fn list() -> Vec<DeviceInfo> {
    available().into_iter().map(|(info, _)| info).collect()
}

/// The device that `spec` asks for.
///
/// # Errors
/// [`Error::Device`] when there is no such device, when it cannot be used, or when this build lacks
/// the feature for it.
pub fn choose(spec: DeviceSpec) -> Result<Chosen> {
    let missing_feature = match spec {
        DeviceSpec::Cuda(_) if !cfg!(feature = "cuda") => Some("cuda"),
        DeviceSpec::Wgpu(_) if !cfg!(feature = "wgpu") => Some("wgpu"),
        _ => None,
    };
    if let Some(feature) = missing_feature {
        return Err(Error::Device {
            device: spec.to_string(),
            problem: format!("this program was built without {feature}"),
            help: format!("build it with `cargo build --release --features {feature}`"),
        });
    }
    // Drivers are only asked when they may be needed: probing them takes time.
    let mut devices = if spec == DeviceSpec::Cpu {
        vec![cpu()]
    } else {
        available()
    };
    let infos: Vec<&DeviceInfo> = devices.iter().map(|(info, _)| info).collect();
    let (index, reason) = pick(spec, &infos)?;
    let (info, device) = devices.swap_remove(index);
    Ok(Chosen {
        device,
        spec: info.spec,
        name: info.name,
        reason,
    })
}

fn available() -> Vec<(DeviceInfo, Device)> {
    let mut devices = Vec::new();
    #[cfg(feature = "cuda")]
    devices.extend(cuda::devices());
    #[cfg(feature = "wgpu")]
    devices.extend(gpu::devices());
    devices.push(cpu());
    // A stable sort: software adapters come last.
    devices.sort_by_key(|(info, _)| info.software);
    devices
}

fn cpu() -> (DeviceInfo, Device) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let info = DeviceInfo {
        spec: DeviceSpec::Cpu,
        name: format!("{}, {threads} threads", std::env::consts::ARCH),
        kind: DeviceKind::Cpu,
        software: false,
        memory_bytes: None,
        obstacle: None,
    };
    (info, Device::flex())
}

/// Which of `devices` (in the order of [`available`]) answers `spec`, and why.
fn pick(spec: DeviceSpec, devices: &[&DeviceInfo]) -> Result<(usize, String)> {
    let of_kind = |info: &DeviceInfo| match (spec, info.spec) {
        (DeviceSpec::Auto, _) => !info.software,
        (DeviceSpec::Cpu, DeviceSpec::Cpu)
        | (DeviceSpec::Wgpu(None), DeviceSpec::Wgpu(_))
        | (DeviceSpec::Cuda(None), DeviceSpec::Cuda(_)) => true,
        (asked, there) => asked == there,
    };
    let candidates = || devices.iter().enumerate().filter(|(_, info)| of_kind(info));
    let Some((index, info)) = candidates().find(|(_, info)| info.obstacle.is_none()) else {
        return Err(match candidates().next() {
            Some((_, info)) => Error::Device {
                device: info.spec.to_string(),
                problem: format!("{} is there but cannot be used", info.name),
                help: info.obstacle.clone().unwrap_or_default(),
            },
            None => Error::Device {
                device: spec.to_string(),
                problem: "there is no such device".to_owned(),
                help: format!("this machine has: {}", names(devices)),
            },
        });
    };
    let reason = match (spec, info.spec) {
        (DeviceSpec::Auto, DeviceSpec::Cuda(_)) => "the first CUDA device".to_owned(),
        (DeviceSpec::Auto, DeviceSpec::Wgpu(_)) => {
            format!("the first GPU{}", passed_over(devices))
        }
        (DeviceSpec::Auto, _) => format!("no GPU found{}", passed_over(devices)),
        _ if info.software => {
            "asked for; a software adapter, for tests only: the CPU itself is far faster".to_owned()
        }
        _ => "asked for".to_owned(),
    };
    Ok((index, reason))
}

fn names(devices: &[&DeviceInfo]) -> String {
    let names: Vec<String> = devices
        .iter()
        .map(|info| {
            let software = if info.software { ", software" } else { "" };
            format!("{} ({}{software})", info.spec, info.name)
        })
        .collect();
    names.join(", ")
}

/// What `auto` saw and did not take, as the end of a reason.
fn passed_over(devices: &[&DeviceInfo]) -> String {
    devices
        .iter()
        .filter_map(|info| match &info.obstacle {
            Some(obstacle) => Some(format!(
                "; {} ({}) cannot be used: {obstacle}",
                info.spec, info.name
            )),
            None if info.software => Some(format!(
                "; {} ({}) is a software adapter",
                info.spec, info.name
            )),
            None => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(spec: DeviceSpec, kind: DeviceKind) -> DeviceInfo {
        DeviceInfo {
            spec,
            name: format!("the {spec}"),
            kind,
            software: kind == DeviceKind::SoftwareGpu,
            memory_bytes: None,
            obstacle: None,
        }
    }

    fn machine() -> [DeviceInfo; 4] {
        [
            info(DeviceSpec::Cuda(Some(0)), DeviceKind::DiscreteGpu),
            info(DeviceSpec::Wgpu(Some(1)), DeviceKind::IntegratedGpu),
            info(DeviceSpec::Cpu, DeviceKind::Cpu),
            info(DeviceSpec::Wgpu(Some(0)), DeviceKind::SoftwareGpu),
        ]
    }

    #[test]
    fn a_spec_is_read_as_it_is_written() {
        for text in ["auto", "cpu", "wgpu", "wgpu:3", "cuda", "cuda:12"] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "gpu",
            "CPU",
            "cpu:0",
            "auto:1",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "wgpu:x",
            "cuda:99999999999999999999",
        ] {
            assert!(text.parse::<DeviceSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn auto_prefers_cuda_then_a_real_gpu_then_the_cpu() {
        let machine = machine();
        let all: Vec<&DeviceInfo> = machine.iter().collect();
        let auto = |devices: &[&DeviceInfo]| {
            let (index, reason) = pick(DeviceSpec::Auto, devices).unwrap();
            (devices[index].spec, reason)
        };
        assert_eq!(auto(&all).0, DeviceSpec::Cuda(Some(0)));
        assert_eq!(auto(&all[1..]).0, DeviceSpec::Wgpu(Some(1)));
        let (spec, reason) = auto(&all[2..]);
        assert_eq!(spec, DeviceSpec::Cpu);
        assert_eq!(
            reason,
            "no GPU found; wgpu:0 (the wgpu:0) is a software adapter"
        );
    }

    #[test]
    fn a_device_that_cannot_be_used_is_passed_over_with_its_reason() {
        let mut machine = machine();
        machine[0].obstacle = Some("install NVRTC".to_owned());
        let all: Vec<&DeviceInfo> = machine.iter().collect();
        let (index, reason) = pick(DeviceSpec::Auto, &all).unwrap();
        assert_eq!(index, 1);
        assert!(reason.contains("install NVRTC"), "{reason}");
        let error = pick(DeviceSpec::Cuda(None), &all).unwrap_err();
        assert_eq!(error.help(), "install NVRTC");
    }

    #[test]
    fn a_software_adapter_is_used_only_when_named() {
        let machine = machine();
        let all: Vec<&DeviceInfo> = machine.iter().collect();
        let (index, reason) = pick(DeviceSpec::Wgpu(Some(0)), &all).unwrap();
        assert_eq!(index, 3);
        assert!(reason.contains("software adapter"), "{reason}");
        assert_eq!(pick(DeviceSpec::Wgpu(None), &all).unwrap().0, 1);
        assert_eq!(pick(DeviceSpec::Wgpu(None), &all[2..]).unwrap().0, 1);
    }

    #[test]
    fn a_missing_device_is_an_error_that_says_what_is_there() {
        let machine = machine();
        let all: Vec<&DeviceInfo> = machine.iter().collect();
        let error = pick(DeviceSpec::Cuda(Some(3)), &all).unwrap_err();
        assert_eq!(error.to_string(), "device cuda:3: there is no such device");
        assert!(error.help().contains("cuda:0 (the cuda:0)"));
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert!(list().iter().any(|info| info.spec == DeviceSpec::Cpu));
        let chosen = choose(DeviceSpec::Cpu).unwrap();
        assert_eq!(chosen.reason, "asked for");
        assert!(chosen.supports(DType::BF16));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_in_names_the_feature() {
        let error = choose(DeviceSpec::Cuda(None)).unwrap_err();
        assert!(error.help().contains("--features cuda"));
    }
}
