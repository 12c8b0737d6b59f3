//! Compiled shaders and bind groups, each made once.

use std::collections::HashMap;
use std::sync::Mutex;

use super::context::{Context, locked};
use super::shaders;

/// What a compiled shader depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The file in `kernels/shaders`, without its ending.
    pub file: &'static str,
    /// The function in it.
    pub entry: &'static str,
    /// The values of `override` constants, as the bits of f64.
    pub constants: Vec<(&'static str, u64)>,
}

/// A compiled shader and the bind groups for it, by the numbers of the blocks in them.
struct Pipeline {
    compiled: wgpu::ComputePipeline,
    bind_groups: HashMap<Vec<u32>, wgpu::BindGroup>,
}

#[derive(Default)]
pub(super) struct Pipelines {
    modules: Mutex<HashMap<&'static str, wgpu::ShaderModule>>,
    pipelines: Mutex<HashMap<Key, Pipeline>>,
}

impl Pipelines {
    /// The compiled shader of `key`, and a bind group of `blocks`, in the order of their bindings.
    pub fn get(
        &self,
        context: &Context,
        key: Key,
        blocks: &[(u32, &wgpu::Buffer)],
    ) -> (wgpu::ComputePipeline, wgpu::BindGroup) {
        let mut pipelines = locked(&self.pipelines);
        let pipeline = pipelines.entry(key).or_insert_with_key(|key| {
            context.count(|made| made.pipelines += 1);
            Pipeline { compiled: self.compile(context, key), bind_groups: HashMap::new() }
        });
        let numbers = blocks.iter().map(|(number, _)| *number).collect();
        let bind_group = pipeline.bind_groups.entry(numbers).or_insert_with(|| {
            context.count(|made| made.bind_groups += 1);
            bind(context, &pipeline.compiled, blocks)
        });
        (pipeline.compiled.clone(), bind_group.clone())
    }

    fn compile(&self, context: &Context, key: &Key) -> wgpu::ComputePipeline {
        let mut modules = locked(&self.modules);
        let module = modules.entry(key.file).or_insert_with(|| load(context, key.file));
        let constants: Vec<_> =
            key.constants.iter().map(|&(name, bits)| (name, f64::from_bits(bits))).collect();
        context.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(key.entry),
            layout: None,
            module,
            entry_point: Some(key.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        })
    }
}

/// Whether shaders check indices and bound loops at run time: in debug builds, and where
/// `TOILE_GPU_CHECKS` is set to something else than 0.
fn are_checked() -> bool {
    std::env::var_os("TOILE_GPU_CHECKS").map_or(cfg!(debug_assertions), |value| value != "0")
}

fn load(context: &Context, file: &'static str) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(shaders::source(file).into());
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(file), source };
    if are_checked() {
        return context.device.create_shader_module(descriptor);
    }
    // SAFETY: these are our own shaders: their loops end after counts that are constants, and
    // their indices stay within the lengths that the menu has checked. The agreement tests run
    // the same shaders with the checks on.
    unsafe {
        let none = wgpu::ShaderRuntimeChecks::unchecked();
        context.device.create_shader_module_trusted(descriptor, none)
    }
}

fn bind(
    context: &Context,
    pipeline: &wgpu::ComputePipeline,
    blocks: &[(u32, &wgpu::Buffer)],
) -> wgpu::BindGroup {
    let resources = blocks.iter().map(|(_, buffer)| buffer.as_entire_binding());
    let entries: Vec<_> = (0..)
        .zip(resources)
        .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
        .collect();
    context.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    })
}
