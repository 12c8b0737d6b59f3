//! `Tensor`: a shape, the numbers, and where they came from if a gradient is wanted.

use std::fmt;
use std::sync::Arc;

use toile_kernels::buffer::Element;
use toile_kernels::{Buffer, Device, Kind};

use crate::autograd::{Backward, Node};
use crate::shape::Shape;

/// Real numbers of one [`Shape`], contiguous, immutable and shared by clones.
///
/// Operations are methods, one file each in [`crate::ops`]; those of a tensor that tracks
/// gradients record what [`Tensor::backward`] needs.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    buffer: Buffer,
    node: Option<Arc<Node>>,
}

impl Tensor {
    /// A tensor of the given numbers that wants no gradient.
    ///
    /// # Panics
    /// If there are more or fewer numbers than the shape has.
    #[must_use]
    #[track_caller]
    pub fn new<T: Element>(device: Device, shape: Shape, values: &[T]) -> Tensor {
        assert_eq!(T::KIND, Kind::Real, "a tensor holds real numbers");
        Tensor::from_buffer(shape, Buffer::from_slice(device, values))
    }

    /// A tensor over the numbers of `buffer` that wants no gradient.
    ///
    /// # Panics
    /// If there are more or fewer numbers than the shape has.
    #[must_use]
    #[track_caller]
    pub fn from_buffer(shape: Shape, buffer: Buffer) -> Tensor {
        assert_eq!(buffer.len(), shape.len(), "a tensor of shape {shape} has another length");
        Tensor { shape, buffer, node: None }
    }

    /// The same numbers as a new variable: [`Tensor::backward`] computes its gradient.
    #[must_use]
    pub fn variable(&self) -> Tensor {
        self.with_node(Node::variable(self.shape, self.device()))
    }

    /// The same numbers as a variable with the given place in the graph.
    #[must_use]
    pub(crate) fn with_node(&self, node: Arc<Node>) -> Tensor {
        Tensor { node: Some(node), ..self.clone() }
    }

    /// The result of an operation. The function object `op` is made, and the operation
    /// recorded, only if one of the inputs wants a gradient. This is the only way to attach
    /// history to a tensor.
    ///
    /// # Panics
    /// If the buffer is of another length than the shape.
    #[must_use]
    #[track_caller]
    pub fn from_op<B: Backward + 'static>(
        shape: Shape,
        buffer: Buffer,
        inputs: &[&Tensor],
        op: impl FnOnce() -> B,
    ) -> Tensor {
        let result = Tensor::from_buffer(shape, buffer);
        if inputs.iter().any(|input| input.wants_gradient()) {
            let nodes = inputs.iter().map(|input| input.node.clone()).collect();
            result.with_node(Node::operation(shape, result.device(), nodes, Box::new(op())))
        } else {
            result
        }
    }

    /// Computes the gradient of this number with respect to every variable that it came from,
    /// and takes the graph apart.
    ///
    /// # Panics
    /// If the tensor is no scalar, wants no gradient, or an operation gave none.
    #[track_caller]
    pub fn backward(self) -> crate::autograd::Gradients {
        assert_eq!(self.shape.len(), 1, "backward starts at one number, found {}", self.shape);
        let mut one = Buffer::unspecified(self.device(), Kind::Real, 1);
        one.fill(1.0);
        crate::autograd::backward(&self, one)
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The numbers.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Where the numbers live.
    #[must_use]
    pub fn device(&self) -> Device {
        self.buffer.device()
    }

    /// A copy of the numbers, row-major.
    #[must_use]
    pub fn to_vec<T: Element + Default>(&self) -> Vec<T> {
        self.buffer.to_vec()
    }

    /// Whether [`Tensor::backward`] would compute a gradient for this tensor.
    #[must_use]
    pub fn wants_gradient(&self) -> bool {
        self.node.is_some()
    }

    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// A buffer for `len` real numbers on this tensor's device, content unspecified.
    pub(crate) fn buffer_for(&self, len: usize) -> Buffer {
        Buffer::unspecified(self.device(), Kind::Real, len)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor {} on {:?}", self.shape, self.device())
    }
}
