//! The one device of the process: how it is found, and the first thing that went wrong with it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::fault::Fault;
use super::memory::Pool;
use super::pipelines::Pipelines;
use super::recorder::Recorder;

/// What the kernels need beyond WebGPU's default limits: room for offsets and numbers that change
/// from call to call.
const IMMEDIATE_BYTES: u32 = 64;
/// A submission that takes longer never ends. A software device needs long for a whole step.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A device that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The name that its driver gives it.
    pub name: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub backend: String,
    /// Whether it is a program on the CPU that acts as a graphics card.
    pub is_software: bool,
}

/// How often something was made anew; a step whose shapes were seen before makes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Blocks of device memory.
    pub blocks: u64,
    /// Compiled shaders, each with its constants.
    pub pipelines: u64,
    /// Bind groups.
    pub bind_groups: u64,
    /// Submissions to the device's queue.
    pub submissions: u64,
    /// Bytes copied from the device.
    pub bytes_read: u64,
}

pub(super) struct Context {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub pool: Pool,
    pub pipelines: Pipelines,
    pub recorder: Mutex<Recorder>,
    /// How long a submission may take.
    pub timeout: Duration,
    opened: Opened,
    fault: Arc<Mutex<Option<Fault>>>,
    counters: Mutex<Counters>,
}

static CONTEXT: OnceLock<Result<Context, Fault>> = OnceLock::new();

/// Chooses and opens the device, once; later calls return what the first one found.
///
/// `WGPU_BACKEND` and `WGPU_ADAPTER_NAME` narrow the choice.
///
/// # Errors
/// [`Fault::NoAdapter`] or [`Fault::TooSmall`].
pub fn open() -> Result<Opened, Fault> {
    let context = CONTEXT.get_or_init(|| pollster::block_on(Context::new()));
    context.as_ref().map(|context| context.opened.clone()).map_err(Fault::clone)
}

/// The first thing that went wrong, if anything did. After it nothing that was computed counts.
#[must_use]
pub fn fault() -> Option<Fault> {
    opened_context().and_then(Context::fault)
}

/// Whether there is a device, for tests: without one they check nothing, unless
/// `TOILE_REQUIRE_GPU` is set.
///
/// # Panics
/// If it is set and there is none.
#[must_use]
pub fn is_there() -> bool {
    match open() {
        Ok(_) => true,
        Err(fault) if std::env::var_os("TOILE_REQUIRE_GPU").is_some() => panic!("{fault}"),
        Err(fault) => {
            eprintln!("the GPU is not checked: {fault}");
            false
        }
    }
}

/// What was made so far.
#[must_use]
pub fn counters() -> Counters {
    opened_context().map_or(Counters::default(), |context| *locked(&context.counters))
}

fn opened_context() -> Option<&'static Context> {
    CONTEXT.get().and_then(|context| context.as_ref().ok())
}

/// The device's context.
///
/// # Panics
/// If [`open`] has not succeeded before.
#[track_caller]
pub(super) fn context() -> &'static Context {
    opened_context().expect("a GPU's buffer is used after gpu::open() has found a GPU")
}

/// The content of a lock. Another thread's panic leaves nothing half done behind that matters:
/// after it the process ends or the test has failed.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    pub async fn new() -> Result<Context, Fault> {
        let instance =
            wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = choose(&instance).await?;
        let info = adapter.get_info();
        let features = wgpu::Features::IMMEDIATES;
        if !adapter.features().contains(features) {
            return Err(Fault::TooSmall(format!("{} takes no immediate numbers", info.name)));
        }
        let limits = adapter.limits();
        if limits.max_immediate_size < IMMEDIATE_BYTES {
            let found = limits.max_immediate_size;
            return Err(Fault::TooSmall(format!(
                "{} takes {found} bytes of immediate numbers, {IMMEDIATE_BYTES} are needed",
                info.name
            )));
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("toile"),
            // The clock only serves `profile`.
            required_features: features | adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
            required_limits: limits,
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|error| Fault::TooSmall(format!("{}: {error}", info.name)))?;
        let fault = Arc::new(Mutex::new(None));
        listen(&device, &fault);
        Ok(Context {
            device,
            queue,
            pool: Pool::default(),
            pipelines: Pipelines::default(),
            recorder: Mutex::new(Recorder::default()),
            timeout: TIMEOUT,
            opened: Opened {
                name: info.name,
                backend: format!("{:?}", info.backend),
                is_software: info.device_type == wgpu::DeviceType::Cpu,
            },
            fault,
            counters: Mutex::new(Counters::default()),
        })
    }

    pub fn fault(&self) -> Option<Fault> {
        locked(&self.fault).clone()
    }

    /// Keeps the first fault.
    pub fn fail(&self, fault: Fault) {
        locked(&self.fault).get_or_insert(fault);
    }

    pub fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut locked(&self.counters));
    }
}

/// The adapter that the environment names, or else the fastest.
async fn choose(instance: &wgpu::Instance) -> Result<wgpu::Adapter, Fault> {
    let wanted = std::env::var("WGPU_ADAPTER_NAME").ok();
    let Some(wanted) = wanted else {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let found = instance.request_adapter(&options).await;
        return found.map_err(|error| {
            // Of a name that it does not know, wgpu says nothing but that there is no device.
            let asked = std::env::var("WGPU_BACKEND").map_or(String::new(), |asked| {
                format!("WGPU_BACKEND, for vulkan, metal or dx12, asks for {asked:?}: ")
            });
            Fault::NoAdapter(format!("{asked}{error}"))
        });
    };
    let adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let names: Vec<_> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let fits = |name: &String| name.to_lowercase().contains(&wanted.to_lowercase());
    let place = names.iter().position(fits).ok_or_else(|| {
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Fault::NoAdapter(format!("WGPU_ADAPTER_NAME asks for {wanted:?}, there is: {found}"))
    })?;
    Ok(adapters.into_iter().nth(place).expect("the place of a name"))
}

/// Turns what wgpu reports beside the calls into faults; by itself it would panic.
fn listen(device: &wgpu::Device, fault: &Arc<Mutex<Option<Fault>>>) {
    let kept = fault.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        let text = error.to_string();
        locked(&kept).get_or_insert(match error {
            wgpu::Error::OutOfMemory { .. } => Fault::OutOfMemory(text),
            _ => Fault::Refused(text),
        });
    }));
    let kept = fault.clone();
    device.set_device_lost_callback(move |_, text| {
        locked(&kept).get_or_insert(Fault::Lost(text));
    });
}
