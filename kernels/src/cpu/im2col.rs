//! Convolution through an explicit column buffer: what most engines do, kept for comparison.
//!
//! The buffer is `Kh Kw` times the image: for the second layer of the reference network and a
//! batch of 128, 85 MB that are written and read once. The engine itself never calls this.

use super::scratch::Scratch;
use crate::geometry::{Conv2d, Gemm};
use crate::threads;

/// Which matrix product multiplies the column buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The engine's own.
    Ours,
    /// The crate `matrixmultiply`, on one thread.
    MatrixMultiply,
}

/// `columns[n, i, j, kh, kw, c]` = the number of `x` under the kernel's tap, 0 in the padding.
/// Its rows are output pixels, its columns the depth.
pub fn im2col(g: &Conv2d, x: &[f32], columns: &mut [f32]) {
    assert_eq!(x.len(), g.input_len(), "the input's length");
    assert_eq!(columns.len(), g.output_len() / g.out_channels() * g.depth(), "the buffer's length");
    threads::chunks(columns, g.out_pixels() * g.depth(), |image, columns| {
        let x = &x[image * g.image_len()..][..g.image_len()];
        for (pixel, patch) in columns.chunks_exact_mut(g.depth()).enumerate() {
            for (tap, to) in patch.chunks_exact_mut(g.in_channels()).enumerate() {
                match pixel_under(g, pixel, tap) {
                    Some(at) => to.copy_from_slice(&x[at..at + g.in_channels()]),
                    None => to.fill(0.0),
                }
            }
        }
    });
}

/// The adjoint of [`im2col`]: adds every number of `columns` to where it came from.
pub fn col2im(g: &Conv2d, columns: &[f32], dx: &mut [f32]) {
    assert_eq!(dx.len(), g.input_len(), "the input gradient's length");
    assert_eq!(columns.len(), g.output_len() / g.out_channels() * g.depth(), "the buffer's length");
    threads::chunks(dx, g.image_len(), |image, dx| {
        dx.fill(0.0);
        let columns = &columns[image * g.out_pixels() * g.depth()..];
        for (pixel, patch) in columns.chunks_exact(g.depth()).take(g.out_pixels()).enumerate() {
            for (tap, from) in patch.chunks_exact(g.in_channels()).enumerate() {
                if let Some(at) = pixel_under(g, pixel, tap) {
                    let to = &mut dx[at..at + g.in_channels()];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                }
            }
        }
    });
}

/// Where the input pixel under kernel tap `tap` of output pixel `pixel` starts in its image;
/// `None` in the padding.
fn pixel_under(g: &Conv2d, pixel: usize, tap: usize) -> Option<usize> {
    let row = pixel / g.out_width() * g.stride() + tap / g.kernel_width();
    let column = pixel % g.out_width() * g.stride() + tap % g.kernel_width();
    let row = row.checked_sub(g.padding()).filter(|&row| row < g.height())?;
    let column = column.checked_sub(g.padding()).filter(|&column| column < g.width())?;
    Some((row * g.width() + column) * g.in_channels())
}

/// The product that the column buffer of `g` takes part in: a row an output pixel of the batch.
fn product_of(g: &Conv2d) -> Gemm {
    Gemm {
        rows: (g.output_len() / g.out_channels()) as u32,
        columns: g.out_channels,
        depth: g.depth() as u32,
    }
}

/// y = columns w
pub fn conv2d_forward(g: &Conv2d, product: Product, x: &[f32], w: &[f32], y: &mut [f32]) {
    let gemm = product_of(g);
    let mut scratch = Scratch::new(gemm.left_len());
    let mut columns = scratch.write();
    im2col(g, x, &mut columns);
    match product {
        Product::Ours => super::gemm_nn(&gemm, &columns, w, y),
        Product::MatrixMultiply => {
            let (m, k, n) = (gemm.rows(), gemm.depth(), gemm.columns());
            sgemm([m, k, n], (&columns, [k, 1]), (w, [n, 1]), y);
        }
    }
}

/// dx = col2im(dy wᵀ)
pub fn conv2d_backward_input(g: &Conv2d, product: Product, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    let forward = product_of(g);
    let gemm = Gemm { columns: forward.depth, depth: forward.columns, ..forward };
    let mut scratch = Scratch::new(gemm.result_len());
    let mut columns = scratch.write();
    match product {
        Product::Ours => super::gemm_nt(&gemm, dy, w, &mut columns),
        Product::MatrixMultiply => {
            let (m, k, n) = (gemm.rows(), gemm.depth(), gemm.columns());
            sgemm([m, k, n], (dy, [k, 1]), (w, [1, k]), &mut columns);
        }
    }
    col2im(g, &columns, dx);
}

/// dw = columnsᵀ dy
pub fn conv2d_backward_weight(g: &Conv2d, product: Product, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let forward = product_of(g);
    let gemm = Gemm { rows: forward.depth, columns: forward.columns, depth: forward.rows };
    let mut scratch = Scratch::new(forward.left_len());
    let mut columns = scratch.write();
    im2col(g, x, &mut columns);
    match product {
        Product::Ours => super::gemm_tn(&gemm, &columns, dy, dw),
        Product::MatrixMultiply => {
            let (m, k, n) = (gemm.rows(), gemm.depth(), gemm.columns());
            sgemm([m, k, n], (&columns, [1, m]), (dy, [n, 1]), dw);
        }
    }
}

/// c = a b with `matrixmultiply`; an operand comes with its row and column stride.
fn sgemm(
    [m, k, n]: [usize; 3],
    (a, a_strides): (&[f32], [usize; 2]),
    (b, b_strides): (&[f32], [usize; 2]),
    c: &mut [f32],
) {
    let reach = |rows, columns, [r, s]: [usize; 2]| (rows - 1) * r + (columns - 1) * s + 1;
    assert!(m > 0 && k > 0 && n > 0, "an empty product");
    assert!(reach(m, k, a_strides) <= a.len(), "the left operand's length");
    assert!(reach(k, n, b_strides) <= b.len(), "the right operand's length");
    assert_eq!(c.len(), m * n, "the result's length");
    let [a_row, a_column] = a_strides.map(|s| s as isize);
    let [b_row, b_column] = b_strides.map(|s| s as isize);
    // SAFETY: the last element that the strides reach lies inside each operand, as checked above.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            a_row,
            a_column,
            b.as_ptr(),
            b_row,
            b_column,
            0.0,
            c.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}
