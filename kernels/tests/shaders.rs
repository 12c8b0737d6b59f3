//! Every shader, in every specialised form, without any device: parsed, checked, and translated
//! to the languages of Vulkan, Metal and DX12.

use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ScalarKind, ShaderStage, TypeInner};
use toile_kernels::gpu;

fn parse(name: &str) -> (Module, ModuleInfo) {
    let source = gpu::source(name);
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&source, name)));
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::IMMEDIATES);
    let info = validator
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&source, name)));
    (module, info)
}

/// Values of a module's `override` constants: flags in every combination, sizes `size`.
fn forms(module: &Module, size: f64) -> Vec<PipelineConstants> {
    let mut forms = vec![PipelineConstants::default()];
    for (_, constant) in module.overrides.iter() {
        let name = constant.name.clone().expect("constants are set by name");
        let TypeInner::Scalar(scalar) = module.types[constant.ty].inner else {
            panic!("{name} is not a number or a flag")
        };
        let values = match scalar.kind {
            ScalarKind::Bool => vec![0.0, 1.0],
            ScalarKind::Float => vec![0.5],
            _ => vec![size],
        };
        let with = |form: &PipelineConstants, value| {
            let mut form = form.clone();
            form.insert(name.clone(), value);
            form
        };
        forms = values
            .iter()
            .flat_map(|&value| forms.iter().map(move |form| with(form, value)))
            .collect();
    }
    forms
}

/// Threads of a workgroup and vectors of its columns, for each tile that products have.
const TILES: [[f64; 2]; 3] = [[256.0, 16.0], [256.0, 8.0], [128.0, 8.0]];

/// A form with each tile of a product, if that is what it is a form of.
fn with_tiles(form: &PipelineConstants) -> Vec<PipelineConstants> {
    if !form.contains_key("THREADS") {
        return vec![form.clone()];
    }
    let with = |[threads, vectors]: [f64; 2]| {
        let mut form = form.clone();
        form.insert("THREADS".to_owned(), threads);
        form.insert("COLUMN_VECTORS".to_owned(), vectors);
        form.insert("ROW_VECTORS".to_owned(), threads / vectors);
        form
    };
    TILES.map(with).to_vec()
}

#[test]
fn every_form_of_every_shader_is_valid() {
    for (name, _) in gpu::SHADERS {
        let (module, info) = parse(name);
        let forms = [1.0, 8.0].iter().flat_map(|&size| forms(&module, size));
        for form in forms.flat_map(|form| with_tiles(&form)) {
            for entry in &module.entry_points {
                let about = format!("{name}, {}, {form:?}", entry.name);
                translate(&module, &info, &entry.name, &form, &about);
            }
        }
    }
}

fn translate(
    module: &Module,
    info: &ModuleInfo,
    entry: &str,
    form: &PipelineConstants,
    about: &str,
) {
    let stage = ShaderStage::Compute;
    let (module, info) = process_overrides(module, info, Some((stage, entry)), form)
        .unwrap_or_else(|error| panic!("{about}: {error}"));
    let options = spv::PipelineOptions { shader_stage: stage, entry_point: entry.to_owned() };
    spv::write_vec(&module, &info, &spv::Options::default(), Some(&options))
        .unwrap_or_else(|error| panic!("{about}: to SPIR-V: {error}"));

    let options = msl::Options { fake_missing_bindings: true, ..Default::default() };
    let pipeline =
        msl::PipelineOptions { entry_point: Some((stage, entry.to_owned())), ..Default::default() };
    msl::write_string(&module, &info, &options, &pipeline)
        .unwrap_or_else(|error| panic!("{about}: to MSL: {error}"));

    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        fake_missing_bindings: true,
        immediates_target: Some(hlsl::BindTarget::default()),
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, entry.to_owned())) };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module, &info, None)
        .unwrap_or_else(|error| panic!("{about}: to HLSL: {error}"));
}

/// The limits of WebGPU, which every device keeps.
#[test]
fn shaders_stay_within_the_default_limits() {
    for (name, _) in gpu::SHADERS {
        let (module, info) = parse(name);
        for (place, entry) in module.entry_points.iter().enumerate() {
            let about = format!("{name}, {}", entry.name);
            for form in with_tiles(&forms(&module, 8.0)[0]) {
                let only = Some((ShaderStage::Compute, entry.name.as_str()));
                let (module, _) = process_overrides(&module, &info, only, &form)
                    .unwrap_or_else(|error| panic!("{about}: {error}"));
                let threads = module.entry_points[0].workgroup_size.iter().product::<u32>();
                assert!((2..=256).contains(&threads), "{about}: {threads} threads");
            }
            let used = info.get_entry_point(place);
            let (mut buffers, mut workgroup_bytes) = (0, 0);
            for (handle, variable) in module.global_variables.iter() {
                if used[handle].is_empty() {
                    continue;
                }
                match variable.space {
                    naga::AddressSpace::Storage { .. } => buffers += 1,
                    naga::AddressSpace::WorkGroup => {
                        workgroup_bytes += module.types[variable.ty].inner.size(module.to_ctx());
                    }
                    _ => {}
                }
            }
            assert!(buffers <= 8, "{about}: {buffers} buffers");
            assert!(workgroup_bytes <= 16_384, "{about}: {workgroup_bytes} bytes");
        }
    }
}
