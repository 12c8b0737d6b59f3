//! Reverse-mode differentiation over recorded operations.
//!
//! An operation is recorded as a function object whose fields are what its backward pass needs
//! and all that it keeps alive. A node's number is larger than its inputs' numbers, so going
//! through the nodes by falling number meets every user of a tensor before the tensor itself.
//! The engine alone adds gradients up; an operation only writes its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use toile_kernels::geometry::Elements;
use toile_kernels::{Buffer, Device, Kind, add_assign};

use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// A recorded operation: its fields are exactly what backward needs, and all that it keeps alive.
pub trait Backward: Send + Sync {
    /// The operation's name, for messages.
    fn name(&self) -> &'static str;

    /// Computes the gradient of every input that wants one.
    ///
    /// `gradient` is that of the result, of the result's shape. Input `i` of the operation is
    /// served by `slots.slot(i)`, a buffer to write all of, or by `slots.hand_on(i, ...)`.
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots);
}

/// A tensor's place in the graph. It does not hold the tensor's numbers.
pub(crate) struct Node {
    id: u64,
    shape: Shape,
    device: Device,
    kind: NodeKind,
}

enum NodeKind {
    /// A variable; a parameter's gradient has its own place in an arena.
    Variable { place: Option<Buffer> },
    /// The result of an operation, whose object is taken out when backward reaches it.
    Operation { inputs: Vec<Option<Arc<Node>>>, op: Mutex<Option<Box<dyn Backward>>> },
}

impl Node {
    pub(crate) fn variable(shape: Shape, device: Device) -> Arc<Node> {
        Node::new(shape, device, NodeKind::Variable { place: None })
    }

    /// A variable whose gradient is written to `place`.
    pub(crate) fn parameter(shape: Shape, place: Buffer) -> Arc<Node> {
        Node::new(shape, place.device(), NodeKind::Variable { place: Some(place) })
    }

    pub(crate) fn operation(
        shape: Shape,
        device: Device,
        inputs: Vec<Option<Arc<Node>>>,
        op: Box<dyn Backward>,
    ) -> Arc<Node> {
        let op = Mutex::new(Some(op));
        Node::new(shape, device, NodeKind::Operation { inputs, op })
    }

    fn new(shape: Shape, device: Device, kind: NodeKind) -> Arc<Node> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Node { id: NEXT.fetch_add(1, Ordering::Relaxed), shape, device, kind })
    }

    fn place(&self) -> Option<&Buffer> {
        match &self.kind {
            NodeKind::Variable { place } => place.as_ref(),
            NodeKind::Operation { .. } => None,
        }
    }
}

/// Where an operation puts the gradients of its inputs.
pub struct GradientSlots {
    slots: Vec<Slot>,
    op: &'static str,
}

struct Slot {
    /// The input's node; `None` if no gradient is wanted.
    node: Option<Arc<Node>>,
    /// Where the gradient belongs, if it is a parameter's first.
    place: Option<Buffer>,
    written: Option<Buffer>,
    /// Whether others may hold the same memory.
    shared: bool,
}

impl GradientSlots {
    /// A slot for each input of the operation `op`. (One list of slots serves a whole backward.)
    fn prepare(
        &mut self,
        op: &'static str,
        inputs: &[Option<Arc<Node>>],
        pending: &BTreeMap<u64, Pending>,
    ) {
        let slot = |(i, node): (usize, &Option<Arc<Node>>)| {
            let is_first = |node: &&Arc<Node>| {
                let earlier = inputs[..i].iter().flatten().any(|other| other.id == node.id);
                !earlier && !pending.contains_key(&node.id)
            };
            let place = node.as_ref().filter(is_first).and_then(|node| node.place().cloned());
            Slot { node: node.clone(), place, written: None, shared: false }
        };
        self.op = op;
        self.slots.extend(inputs.iter().enumerate().map(slot));
    }

    /// Checks that every wanted gradient was written.
    #[track_caller]
    fn check_written(&self) {
        for (i, slot) in self.slots.iter().enumerate() {
            assert!(
                slot.node.is_none() || slot.written.is_some(),
                "{}: backward gave no gradient for input {i}, which wants one",
                self.op
            );
        }
    }

    /// Whether input `i` wants a gradient. One that does must get it.
    #[must_use]
    pub fn wants(&self, i: usize) -> bool {
        self.slots[i].node.is_some()
    }

    /// The buffer for the gradient of input `i`: of its length, content unspecified, to be
    /// written in full. Only for inputs that want one.
    ///
    /// # Panics
    /// If input `i` wants no gradient.
    #[track_caller]
    pub fn slot(&mut self, i: usize) -> Buffer {
        let op = self.op;
        let slot = &mut self.slots[i];
        let node = slot.node.as_ref();
        let node = node.unwrap_or_else(|| panic!("{op}: input {i} wants no gradient"));
        let buffer = slot
            .place
            .take()
            .unwrap_or_else(|| Buffer::unspecified(node.device, Kind::Real, node.shape.len()));
        slot.written = Some(buffer.clone());
        buffer
    }

    /// Like [`GradientSlots::slot`], or a buffer of `len` numbers to throw away if input `i`
    /// wants no gradient: for kernels that compute several gradients at once.
    #[track_caller]
    pub fn slot_or_scratch(&mut self, i: usize, device: Device, len: usize) -> Buffer {
        if self.wants(i) { self.slot(i) } else { Buffer::unspecified(device, Kind::Real, len) }
    }

    /// Takes an existing buffer as the gradient of input `i`, if it wants one.
    pub fn hand_on(&mut self, i: usize, gradient: &Buffer) {
        let slot = &mut self.slots[i];
        if slot.node.is_some() {
            slot.written = Some(gradient.clone());
            slot.shared = true;
        }
    }
}

/// The gradients of the variables that a [`Tensor::backward`] reached.
pub struct Gradients(BTreeMap<u64, Buffer>);

impl Gradients {
    /// The gradient of `variable`, if it was reached.
    #[must_use]
    pub fn of(&self, variable: &Tensor) -> Option<&Buffer> {
        self.of_node(variable.node()?)
    }

    pub(crate) fn of_node(&self, node: &Node) -> Option<&Buffer> {
        self.0.get(&node.id)
    }
}

/// A node that waits for its turn, and the sum of its users' gradients so far.
struct Pending {
    node: Arc<Node>,
    gradient: Buffer,
    shared: bool,
}

/// Computes the gradients of all variables that `output` came from, given its own.
///
/// # Panics
/// If `output` wants no gradient, `gradient` is of another length, the graph was used before,
/// or an operation left out a gradient that is wanted.
#[track_caller]
pub fn backward(output: &Tensor, gradient: Buffer) -> Gradients {
    assert_eq!(gradient.len(), output.shape().len(), "backward: the gradient's length");
    let node = output.node().expect("backward: no variable led to this tensor").clone();
    let mut found = BTreeMap::new();
    let mut pending = BTreeMap::new();
    pending.insert(node.id, Pending { node, gradient, shared: true });
    let mut slots = GradientSlots { slots: Vec::new(), op: "" };
    while let Some((id, Pending { node, gradient, .. })) = pending.pop_last() {
        let NodeKind::Operation { inputs, op } = &node.kind else {
            found.insert(id, gradient);
            continue;
        };
        let op = op.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let op = op.expect("backward: this graph was taken apart by an earlier backward");
        slots.prepare(op.name(), inputs, &pending);
        op.backward(gradient, &mut slots);
        slots.check_written();
        for slot in slots.slots.drain(..) {
            collect(&mut pending, slot);
        }
    }
    Gradients(found)
}

/// Puts a slot's gradient where it belongs: alone, or added to what other users gave.
fn collect(pending: &mut BTreeMap<u64, Pending>, slot: Slot) {
    let (Some(node), Some(gradient)) = (slot.node, slot.written) else { return };
    let add = |gradient: &Buffer, sum: &mut Buffer| {
        add_assign(&Elements { len: size(gradient.len()) }, gradient, sum);
    };
    match pending.get_mut(&node.id) {
        Some(earlier) => {
            if earlier.shared {
                let mut sum = Buffer::zeros(gradient.device(), gradient.len());
                add(&earlier.gradient, &mut sum);
                (earlier.gradient, earlier.shared) = (sum, false);
            }
            add(&gradient, &mut earlier.gradient);
        }
        None => {
            // A gradient that was handed on has to move to its place in the arena.
            let (gradient, shared) = match slot.place {
                Some(mut place) => {
                    place.fill(0.0);
                    add(&gradient, &mut place);
                    (place, false)
                }
                None => (gradient, slot.shared),
            };
            pending.insert(node.id, Pending { node, gradient, shared });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Forgetful;
    impl Backward for Forgetful {
        fn name(&self) -> &'static str {
            "forgetful"
        }
        fn backward(self: Box<Self>, _: Buffer, _: &mut GradientSlots) {}
    }

    fn variable(values: &[f32]) -> Tensor {
        Tensor::new(Device::Cpu, Shape::new(&[values.len()]), values).variable()
    }

    #[test]
    #[should_panic(expected = "forgetful: backward gave no gradient for input 0")]
    fn a_missing_gradient_is_loud() {
        let x = variable(&[1.0]);
        let _ = Tensor::from_op(x.shape(), x.buffer().clone(), &[&x], || Forgetful).backward();
    }

    /// y = x + x + relu(x): three users, one of them twice.
    #[test]
    fn gradients_of_all_users_are_added() {
        let x = variable(&[3.0, -1.0]);
        let y = x.add(&x).add(&x.relu());
        let one = Buffer::from_slice(Device::Cpu, &[1.0f32, 10.0]);
        let gradients = backward(&y, one.clone());
        assert_eq!(gradients.of(&x).unwrap().to_vec::<f32>(), [3.0, 20.0]);
        assert_eq!(one.to_vec::<f32>(), [1.0, 10.0], "a shared gradient must not be added to");
    }

    #[test]
    fn a_parameters_gradient_lands_in_its_place() {
        let arena = Buffer::zeros(Device::Cpu, 4);
        let shape = Shape::new(&[2]);
        let node = Node::parameter(shape, arena.slice(1..3));
        let x = Tensor::new(Device::Cpu, shape, &[3.0f32, -1.0]).with_node(node);
        let y = x.add(&x).add(&x.relu());
        backward(&y, Buffer::from_slice(Device::Cpu, &[1.0f32, 10.0]));
        assert_eq!(arena.to_vec::<f32>(), [0.0, 3.0, 20.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "taken apart")]
    fn a_graph_serves_once() {
        let y = variable(&[1.0]).relu();
        let again = y.clone();
        y.backward();
        again.backward();
    }
}
