//! A model's numbers: flat arenas that layers hold slices of.
//!
//! What the optimizer updates lies in one arena, its gradients in another of the same layout,
//! so that an update is one pass over both; what weight decay shrinks comes first in them. Running
//! statistics lie in a third arena.

use std::ops::Range;
use std::sync::Arc;

use toile_kernels::{Buffer, Device};

use super::init::Initializer;
use crate::autograd::{Gradients, Node};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// One named tensor of a model.
#[derive(Clone)]
pub struct Parameter {
    name: String,
    shape: Shape,
    values: Buffer,
    /// Where the numbers lie among those that the optimizer updates.
    place: Option<Range<usize>>,
    /// The variable of this parameter in every graph; `None` if the optimizer leaves it alone.
    node: Option<Arc<Node>>,
}

impl Parameter {
    /// The name in model files, such as `conv1.weight`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The numbers, in their arena.
    #[must_use]
    pub fn values(&self) -> &Buffer {
        &self.values
    }

    /// Where the numbers lie in [`Parameters::values`]; none for running statistics.
    #[must_use]
    pub fn place(&self) -> Option<Range<usize>> {
        self.place.clone()
    }

    /// Whether the optimizer changes it.
    #[must_use]
    pub fn is_trained(&self) -> bool {
        self.node.is_some()
    }

    /// The numbers as a tensor: a variable if `tracked` and the parameter is trained.
    #[must_use]
    pub(super) fn tensor(&self, tracked: bool) -> Tensor {
        let constant = Tensor::from_buffer(self.shape, self.values.clone());
        match &self.node {
            Some(node) if tracked => constant.with_node(Arc::clone(node)),
            _ => constant,
        }
    }
}

/// What a new parameter is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Updated by the optimizer.
    Trained,
    /// Has a place among the trained ones, but gets no gradient and keeps its value: a bias
    /// directly before a batch normalisation, whose true gradient is zero, and what is frozen.
    Idle,
    /// Moved by the forward pass: running statistics.
    Statistic,
}

/// What a layer asks for.
struct Request {
    name: String,
    shape: Shape,
    role: Role,
    initializer: Initializer,
}

impl Request {
    /// Whether it is a weight of a product that the optimizer changes: biases and batch norm's
    /// parameters have one axis.
    fn is_trained_weight(&self) -> bool {
        self.role == Role::Trained && self.shape.dims().len() > 1
    }
}

/// Collects the parameters that layers ask for; the arenas are made when all are known.
#[derive(Default)]
pub(super) struct Requests {
    all: Vec<Request>,
    /// Whether what is asked for is idle, though it would be trained.
    pub are_frozen: bool,
}

/// Names a parameter before it exists.
#[derive(Clone, Copy)]
pub(super) struct ParameterId(usize);

impl Requests {
    /// Asks for a parameter.
    pub fn add(
        &mut self,
        name: String,
        shape: Shape,
        role: Role,
        initializer: Initializer,
    ) -> ParameterId {
        let role = match role {
            Role::Trained if self.are_frozen => Role::Idle,
            role => role,
        };
        self.all.push(Request { name, shape, role, initializer });
        ParameterId(self.all.len() - 1)
    }

    /// How many parameters were asked for so far.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Names and shapes of all parameters that were asked for.
    pub fn tensors(&self) -> Vec<(String, Shape)> {
        self.all.iter().map(|request| (request.name.clone(), request.shape)).collect()
    }

    /// How many numbers the requests from number `first` on come to: trained or idle ones, and
    /// statistics.
    pub fn counts_from(&self, first: usize) -> (usize, usize) {
        self.all[first..].iter().fold((0, 0), |(trained, moved), request| match request.role {
            Role::Statistic => (trained, moved + request.shape.len()),
            Role::Trained | Role::Idle => (trained + request.shape.len(), moved),
        })
    }
}

/// A tensor's number, as its random numbers are named by.
fn tensor_number(number: usize) -> u16 {
    u16::try_from(number).expect("a network has at most 65,536 tensors")
}

/// All parameters of a model and the arenas that they lie in.
pub struct Parameters {
    all: Vec<Parameter>,
    weights_len: usize,
    values: Buffer,
    gradients: Buffer,
    statistics: Buffer,
}

impl Parameters {
    /// Lays out the arenas and sets every parameter to its initial value.
    pub(super) fn new(requests: Requests, device: Device, seed: u64) -> Parameters {
        let total = |counted: fn(&Request) -> bool| -> usize {
            requests.all.iter().filter(|r| counted(r)).map(|r| r.shape.len()).sum()
        };
        let values = Buffer::zeros(device, total(|r| r.role != Role::Statistic));
        let gradients = Buffer::zeros(device, values.len());
        let statistics = Buffer::zeros(device, total(|r| r.role == Role::Statistic));
        let weights_len = total(Request::is_trained_weight);
        let (mut weights, mut others, mut moved) = (0, weights_len, 0);
        let place = |(number, request): (usize, Request)| {
            let len = request.shape.len();
            let (arena, next) = match request.role {
                Role::Statistic => (&statistics, &mut moved),
                _ if request.is_trained_weight() => (&values, &mut weights),
                _ => (&values, &mut others),
            };
            let range = *next..*next + len;
            *next += len;
            let mut values = arena.slice(range.clone());
            let initial = request.initializer.values(len, tensor_number(number), seed);
            values.copy_from(&initial);
            let node = (request.role == Role::Trained)
                .then(|| Node::parameter(request.shape, gradients.slice(range.clone())));
            let place = (request.role != Role::Statistic).then_some(range);
            let Request { name, shape, .. } = request;
            Parameter { name, shape, values, place, node }
        };
        let all = requests.all.into_iter().enumerate().map(place).collect();
        Parameters { all, weights_len, values, gradients, statistics }
    }

    pub(super) fn get(&self, id: ParameterId) -> Parameter {
        self.all[id.0].clone()
    }

    /// All parameters, in the order of the layers.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.all.iter()
    }

    /// How many numbers a model file stores.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.iter().map(|p| p.shape.len()).sum()
    }

    /// The arena of what the optimizer updates.
    #[must_use]
    pub fn values(&self) -> &Buffer {
        &self.values
    }

    /// How many numbers at the front of [`Parameters::values`] decay: the weights of products that
    /// are trained. Biases, batch norm's parameters and what is frozen follow.
    #[must_use]
    pub fn weights_len(&self) -> usize {
        self.weights_len
    }

    /// The arena of the running statistics.
    #[must_use]
    pub fn statistics(&self) -> &Buffer {
        &self.statistics
    }

    /// The arena of the gradients, laid out like [`Parameters::values`].
    #[must_use]
    pub fn gradients(&self) -> &Buffer {
        &self.gradients
    }

    /// Takes over all numbers of another model of the same layers, whichever of them are frozen.
    ///
    /// # Panics
    /// If the layers are others.
    #[track_caller]
    pub fn copy_from(&mut self, other: &Parameters) {
        assert_eq!(self.all.len(), other.all.len(), "models of other layers");
        for (to, from) in self.all.iter_mut().zip(&other.all) {
            assert_eq!((&to.name, to.shape), (&from.name, from.shape), "models of other layers");
            to.values.copy_from(&from.values.to_vec::<f32>());
        }
    }

    /// Whether every parameter has the place in its arena that it has in `other`'s: the arenas of
    /// models of the same layers are in different orders where other layers are frozen.
    pub(crate) fn are_laid_out_like(&self, other: &Parameters) -> bool {
        let same = |(a, b): (&Parameter, &Parameter)| (&a.name, &a.place) == (&b.name, &b.place);
        self.all.len() == other.all.len() && self.all.iter().zip(&other.all).all(same)
    }

    /// Sets the parameter `name`.
    ///
    /// # Panics
    /// If there is none of that name, or the length is another.
    #[track_caller]
    pub fn set(&mut self, name: &str, values: &[f32]) {
        let parameter = self.all.iter_mut().find(|p| p.name == name);
        let parameter = parameter.unwrap_or_else(|| panic!("no parameter is named {name}"));
        parameter.values.copy_from(values);
    }

    /// Checks that a backward pass reached every trained parameter: one that it missed would
    /// keep the gradient of an earlier step.
    ///
    /// # Panics
    /// If it did not, naming those left out.
    #[track_caller]
    pub fn check_reached(&self, gradients: &Gradients) {
        let left_out =
            |p: &&Parameter| p.node.as_ref().is_some_and(|node| gradients.of_node(node).is_none());
        let names: Vec<_> = self.all.iter().filter(left_out).map(Parameter::name).collect();
        assert!(names.is_empty(), "the backward pass gave no gradient for {}", names.join(", "));
    }
}
