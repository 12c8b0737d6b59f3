//! The shaders' texts. A file of `kernels/shaders` is one module; some begin with a part that
//! several share.

/// A shader module: its name, and the texts that it is made of.
pub type Shader = (&'static str, &'static [&'static str]);

macro_rules! text {
    ($file:literal) => {
        include_str!(concat!("../../shaders/", $file, ".wgsl"))
    };
}

const COLUMNS: &str = text!("parts/columns");
const CONVOLUTION: &str = text!("parts/convolution");
const NORMAL: &str = text!("parts/normal");
const OPERANDS: &str = text!("parts/operands");
const PHILOX: &str = text!("parts/philox");
const SOFTMAX: &str = text!("parts/softmax");
const TAPS: &str = text!("parts/taps");
const TILE: &str = text!("parts/tile");
const WINDOW: &str = text!("parts/window");

/// All modules.
pub const SHADERS: &[Shader] = &[
    ("adam", &[text!("adam")]),
    ("augment", &[PHILOX, text!("augment")]),
    ("batch_norm", &[NORMAL, text!("batch_norm")]),
    ("batch_norm_gradients", &[COLUMNS, NORMAL, text!("batch_norm_gradients")]),
    ("batch_norm_statistics", &[COLUMNS, text!("batch_norm_statistics")]),
    ("channels", &[COLUMNS, text!("channels")]),
    ("check_gradients", &[text!("check_gradients")]),
    ("conv2d_backward_input", &[OPERANDS, CONVOLUTION, TAPS, TILE, text!("conv2d_backward_input")]),
    ("conv2d_backward_weight", &[OPERANDS, CONVOLUTION, TILE, text!("conv2d_backward_weight")]),
    ("conv2d_forward", &[OPERANDS, CONVOLUTION, TAPS, TILE, text!("conv2d_forward")]),
    ("conv_pool", &[PHILOX, WINDOW, text!("conv_pool")]),
    ("cross_entropy", &[SOFTMAX, text!("cross_entropy")]),
    ("elementwise", &[PHILOX, text!("elementwise")]),
    ("gather", &[text!("gather")]),
    ("gemm_nn", &[OPERANDS, TILE, text!("gemm_nn")]),
    ("gemm_nt", &[OPERANDS, TILE, text!("gemm_nt")]),
    ("gemm_tn", &[OPERANDS, TILE, text!("gemm_tn")]),
    ("mix", &[text!("mix")]),
    ("peak", &[text!("peak")]),
    ("pool", &[WINDOW, text!("pool")]),
    ("sgd", &[text!("sgd")]),
    ("soft_cross_entropy", &[SOFTMAX, text!("soft_cross_entropy")]),
    ("targets", &[text!("targets")]),
];

/// The text of a module.
///
/// # Panics
/// If there is none of that name.
#[must_use]
pub fn source(name: &str) -> String {
    let shader = SHADERS.iter().find(|(known, _)| *known == name);
    let (_, parts) = shader.unwrap_or_else(|| panic!("there is no shader {name:?}"));
    parts.concat()
}
