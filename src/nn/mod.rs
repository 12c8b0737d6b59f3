//! Layers, and the networks that are lists of them.
//!
//! A [`Layer`] is a description: plain data without numbers. [`Sequential`] gives the layers
//! their parameters and names, and has `plan` turn the list into the stages that run.
//!
//! To add a layer: write `nn/<layer>.rs`, name it in the list below, export it, and say in
//! `inference.rs` what it becomes.

mod batch_norm;
mod conv2d;
mod conv_block;
mod conv_pool;
mod dense;
mod dropout;
mod flatten;
mod inference;
mod init;
mod max_pool2d;
mod parameters;
mod plan;
mod relu;
mod sequential;
mod summary;

pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub use dense::Dense;
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use inference::Inference;
pub use init::Initializer;
pub use max_pool2d::MaxPool2d;
pub use parameters::{Parameter, Parameters};
pub use plan::Fusion;
pub use relu::Relu;
pub use sequential::Sequential;
pub use summary::{Summary, SummaryRow};

use crate::shape::Shape;
use crate::tensor::Tensor;
use parameters::{ParameterId, Requests, Role};

/// The layers: the name in tensor names and summaries, and the description.
macro_rules! layers {
    ($($name:literal $layer:ident,)*) => {
        /// One layer of a network: what it is, without its numbers.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "layer", rename_all = "snake_case")]
        pub enum Layer {
            $(#[doc = concat!("[`", stringify!($layer), "`]")] $layer($layer),)*
        }

        impl Layer {
            /// The name of this kind of layer, such as `conv`; in a network it gets a number.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Layer::$layer(_) => $name,)* }
            }
            fn as_dyn(&self) -> &dyn Describe {
                match self { $(Layer::$layer(layer) => layer,)* }
            }
        }

        $(impl From<$layer> for Layer {
            fn from(layer: $layer) -> Layer {
                Layer::$layer(layer)
            }
        })*
    };
}

layers! {
    "conv" Conv2d,
    "dense" Dense,
    "bn" BatchNorm,
    "relu" Relu,
    "pool" MaxPool2d,
    "dropout" Dropout,
    "flatten" Flatten,
}

/// What every layer can say and do.
trait Describe {
    /// The shape of one image's result.
    ///
    /// # Panics
    /// If `input`, of one image, does not fit.
    fn output(&self, input: Shape) -> Shape;

    /// The multiply-adds of one image's forward pass, for layers that multiply.
    fn multiply_adds(&self, _input: Shape) -> usize {
        0
    }

    /// Asks for the layer's parameters and names them; most layers have none.
    fn request(&self, _site: &Site, _requests: &mut Requests) -> Vec<ParameterId> {
        Vec::new()
    }

    /// The stage that runs the layer alone, with its parameters in the order asked for.
    fn stage(&self, site: &Site, parameters: &[Parameter]) -> Box<dyn Stage>;
}

/// A layer in its place, with its parameters.
struct Placed<'a> {
    layer: &'a Layer,
    site: Site,
    parameters: Vec<Parameter>,
}

impl Placed<'_> {
    /// The stage that runs this layer alone.
    fn stage(&self) -> Box<dyn Stage> {
        self.layer.as_dyn().stage(&self.site, &self.parameters)
    }
}

/// Where a layer stands in its network.
#[derive(Clone)]
struct Site {
    /// The layer's name, such as `conv1`.
    name: String,
    /// The layer's number among all layers.
    number: u16,
    /// The shape of one image that comes in.
    input: Shape,
    /// What becomes of a bias: idle before a batch normalisation.
    bias: Role,
}

/// A part of a network that runs: one layer, or several that were fused.
trait Stage: Send + Sync {
    /// The result for a batch.
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor;
}

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Answers: running statistics, no dropout, nothing recorded.
    Inference,
    /// One training step: batch statistics, dropout masks of (seed, layer, step), operations
    /// recorded for backward.
    Training {
        /// The run's seed.
        seed: u64,
        /// The optimizer step, counted from 0.
        step: u32,
    },
}

impl Pass {
    fn is_training(self) -> bool {
        self != Pass::Inference
    }
}
