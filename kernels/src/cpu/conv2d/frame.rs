//! Images laid into larger frames of zeros.

use crate::cpu::scratch::Scratch;

/// Images of `inner` height and width in frames of `outer` height and width.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Frame {
    pub inner: [usize; 2],
    pub outer: [usize; 2],
    /// Rows above and columns left of the image.
    pub origin: [usize; 2],
    pub channels: usize,
}

impl Frame {
    /// Numbers of a framed image.
    pub fn len(self) -> usize {
        self.outer[0] * self.outer[1] * self.channels
    }

    fn inner_len(self) -> usize {
        self.inner[0] * self.inner[1] * self.channels
    }

    /// Whether there is nothing around the image.
    fn is_tight(self) -> bool {
        self.inner == self.outer
    }

    /// Where row `row` of all images' rows lies among the frames.
    fn place(self, row: usize) -> usize {
        let (image, line) = (row / self.inner[0], row % self.inner[0]);
        let start = (line + self.origin[0]) * self.outer[1] + self.origin[1];
        image * self.len() + start * self.channels
    }

    /// Calls `body` with some images in their frames: in place where these are tight.
    pub fn with_framed(self, images: &[f32], body: impl FnOnce(&[f32])) {
        if self.is_tight() {
            return body(images);
        }
        let mut scratch = Scratch::zeros(images.len() / self.inner_len() * self.len());
        let mut framed = scratch.write();
        let row_len = self.inner[1] * self.channels;
        for (row, from) in images.chunks_exact(row_len).enumerate() {
            framed[self.place(row)..][..row_len].copy_from_slice(from);
        }
        body(&framed);
    }
}
