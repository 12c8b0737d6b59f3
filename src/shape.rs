//! The sizes of a tensor's dimensions, and the one text for shapes that do not fit.

use std::fmt;

/// Sizes of up to four dimensions, outermost first.
///
/// ```
/// use toile::Shape;
/// let shape = Shape::new(&[2, 28, 28, 1]);
/// assert_eq!(shape.len(), 1568);
/// assert_eq!(shape.to_string(), "[2, 28, 28, 1]");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    dims: [usize; Shape::MAX_RANK],
    rank: usize,
}

impl Shape {
    /// The most dimensions that a tensor has.
    pub const MAX_RANK: usize = 4;

    /// A shape with these sizes; no sizes at all make a scalar.
    ///
    /// # Panics
    /// If there are more than [`Shape::MAX_RANK`].
    #[must_use]
    #[track_caller]
    pub fn new(sizes: &[usize]) -> Shape {
        assert!(sizes.len() <= Shape::MAX_RANK, "a tensor has at most 4 dimensions: {sizes:?}");
        let mut dims = [1; Shape::MAX_RANK];
        dims[..sizes.len()].copy_from_slice(sizes);
        Shape { dims, rank: sizes.len() }
    }

    /// The sizes.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// How many dimensions there are.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many numbers a tensor of this shape has.
    #[must_use]
    pub fn len(&self) -> usize {
        let product = self.dims().iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        product.unwrap_or_else(|| panic!("a shape of {self} has more numbers than any memory"))
    }

    /// Whether a tensor of this shape has no numbers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The innermost size: channels or features. 1 for a scalar.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// The shape without its outermost dimension: of one image of a batch.
    #[must_use]
    pub fn of_one(&self) -> Shape {
        Shape::new(self.dims().get(1..).unwrap_or(&[]))
    }

    /// The shape with another dimension outermost: of a batch of such images.
    ///
    /// # Panics
    /// If there are four dimensions already.
    #[must_use]
    #[track_caller]
    pub fn batch(&self, images: usize) -> Shape {
        assert!(self.rank < Shape::MAX_RANK, "{self} has no place for another dimension");
        let mut dims = [1; Shape::MAX_RANK];
        dims[0] = images;
        dims[1..=self.rank].copy_from_slice(self.dims());
        Shape { dims, rank: self.rank + 1 }
    }

    /// The sizes as an array of N.
    ///
    /// # Panics
    /// If the rank is another, naming `op`, what it expected and the shape found.
    #[track_caller]
    pub(crate) fn expect<const N: usize>(&self, op: &str, expected: &str) -> [usize; N] {
        self.dims().try_into().unwrap_or_else(|_| panic!("{op}: expected {expected}, found {self}"))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A size as the geometry structs store it.
///
/// # Panics
/// If it does not fit 32 bits.
#[track_caller]
pub(crate) fn size(n: usize) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| panic!("a size of {n} does not fit 32 bits"))
}
