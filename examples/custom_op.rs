//! An operation of your own, defined outside the crate: softplus, y = ln(1 + exp(x)).
//!
//! It takes three things: a function object with what backward needs, its `Backward`, and a
//! function that computes the result and attaches the object. Then the gradient check compares
//! backward with differences of the function itself.
//!
//! The numbers are computed on the host, which is the short way; an operation inside the crate
//! would call a kernel instead.
//!
//! ```text
//! cargo run --release --example custom_op
//! ```

use toile::autograd::{Backward, GradientSlots};
use toile::gradcheck::{Case, Draw, TOLERANCE, check};
use toile::{Buffer, Device, Shape, Tensor};

/// What backward needs, and all that the recorded operation keeps alive.
struct Softplus {
    x: Buffer,
}

/// ln(1 + exp(x)) of each number; any shape, kept.
fn softplus(x: &Tensor) -> Tensor {
    // Written so that exp never overflows.
    let y = map(x.buffer(), |x| x.max(0.0) + (-x.abs()).exp().ln_1p());
    // The closure runs only if x wants a gradient: inference records nothing.
    Tensor::from_op(x.shape(), y, &[x], || Softplus { x: x.buffer().clone() })
}

/// Applies `f` to each number. `f64` on the outside serves both devices: `Cpu` rounds to its
/// f32, `Reference`, where gradients are checked, keeps all of it.
fn map(buffer: &Buffer, f: impl Fn(f64) -> f64) -> Buffer {
    let values: Vec<f64> = buffer.to_vec().into_iter().map(f).collect();
    Buffer::from_slice(buffer.device(), &values)
}

impl Backward for Softplus {
    fn name(&self) -> &'static str {
        "softplus"
    }

    /// dx = dy / (1 + exp(-x))
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        let slope: Vec<f64> = map(&self.x, |x| 1.0 / (1.0 + (-x).exp())).to_vec();
        let dy: Vec<f64> = gradient.to_vec();
        let dx: Vec<f64> = dy.iter().zip(slope).map(|(dy, slope)| dy * slope).collect();
        // The engine says where the gradient belongs and adds it to those of other users of x.
        slots.slot(0).copy_from(&dx);
    }
}

fn main() -> Result<(), String> {
    let x = Tensor::new(Device::Cpu, Shape::new(&[4]), &[-3.0f32, -0.5, 0.5, 3.0]).variable();
    // It mixes with the crate's own operations.
    let y = softplus(&x).add(&x);
    println!("x               {:?}", x.to_vec::<f32>());
    println!("softplus(x) + x {:?}", y.to_vec::<f32>());
    let ones = Buffer::from_slice(Device::Cpu, &[1.0f32; 4]);
    let gradients = toile::autograd::backward(&y, ones);
    let dx = gradients.of(&x).ok_or("backward did not reach x")?;
    println!("its gradient    {:?}", dx.to_vec::<f32>());

    let shape = Shape::new(&[3, 5]);
    let error = check(&Case {
        name: format!("softplus {shape}"),
        inputs: vec![(shape, Draw::new(7, 1).reals(shape.len()).iter().map(|x| 4.0 * x).collect())],
        function: Box::new(|x| softplus(&x[0])),
    })?;
    println!("gradient check  relative error {error:.1e}, allowed {TOLERANCE:.0e}");
    Ok(())
}
