//! One call of a shader: which function, its constants, its operands, its threads.

use super::context::{context, locked};
use super::memory::Memory;
use super::pipelines::Key;

/// Threads of a workgroup of the shaders that treat each number by itself, and of most others.
pub(super) const WORKGROUP: usize = 256;
/// The most workgroups in a direction that every device takes.
const MOST_WORKGROUPS: usize = 65_535;

/// A call of a shader that is being put together.
pub(super) struct Dispatch<'a> {
    key: Key,
    operands: Vec<(&'a Memory, bool)>,
    words: Vec<u32>,
}

impl<'a> Dispatch<'a> {
    /// Calls the function `entry` of `kernels/shaders/<file>.wgsl`.
    pub fn new(file: &'static str, entry: &'static str) -> Dispatch<'a> {
        let key = Key { file, entry, constants: Vec::new() };
        Dispatch { key, operands: Vec::new(), words: Vec::new() }
    }

    /// Calls another function of the file.
    pub fn entry(mut self, entry: &'static str) -> Self {
        self.key.entry = entry;
        self
    }

    /// Sets an `override` constant: what follows from the shapes. Each set of values is compiled
    /// for itself.
    pub fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.key.constants.push((name, value.into().to_bits()));
        self
    }

    /// The next binding, which the shader reads.
    pub fn read(mut self, memory: &'a Memory) -> Self {
        self.operands.push((memory, false));
        self
    }

    /// The next binding, which the shader writes or reads and writes.
    pub fn write(mut self, memory: &'a Memory) -> Self {
        self.operands.push((memory, true));
        self
    }

    /// The next word after the operands' offsets: what changes from step to step.
    pub fn word(mut self, word: u32) -> Self {
        self.words.push(word);
        self
    }

    /// Likewise, a real number.
    pub fn real(self, real: f32) -> Self {
        self.word(real.to_bits())
    }

    /// Runs at least `threads` threads, in workgroups of [`WORKGROUP`]; where that would be more
    /// workgroups than a device takes, threads go on by the number of all threads.
    pub fn run(self, threads: usize) {
        let workgroups = threads.div_ceil(WORKGROUP).min(MOST_WORKGROUPS);
        self.run_workgroups([workgroups, 1, 1]);
    }

    /// Runs workgroups in three directions; nothing if there is none in one of them.
    ///
    /// # Panics
    /// If they are more than every device takes, or a block is both written and read.
    #[track_caller]
    pub fn run_workgroups(self, workgroups: [usize; 3]) {
        if workgroups.contains(&0) {
            return;
        }
        assert!(workgroups.iter().all(|&n| n <= MOST_WORKGROUPS), "{:?}: {workgroups:?}", self.key);
        self.check_blocks();
        let context = context();
        if context.fault().is_some() {
            return;
        }
        let blocks: Vec<_> = self
            .operands
            .iter()
            .map(|(memory, _)| (memory.block.number, &memory.block.buffer))
            .collect();
        let offsets = self.operands.iter().map(|(memory, _)| memory.offset());
        let immediates: Vec<u32> = offsets.chain(self.words).collect();
        let name = [self.key.file, self.key.entry];
        let (pipeline, bind_group) = context.pipelines.get(context, self.key, &blocks);
        let mut recorder = locked(&context.recorder);
        recorder.dispatch(
            context,
            name,
            (&pipeline, &bind_group),
            &immediates,
            workgroups.map(|n| n as u32),
        );
    }

    /// A shader must not write a block that it also reads as another operand (wgpu refuses it),
    /// and not write the same elements twice.
    #[track_caller]
    fn check_blocks(&self) {
        for (i, (first, writes_first)) in self.operands.iter().enumerate() {
            for (second, writes_second) in &self.operands[i + 1..] {
                let fits = match (writes_first, writes_second) {
                    (false, false) => true,
                    (true, true) => !first.overlaps(second),
                    _ => first.block.number != second.block.number,
                };
                let entry = self.key.entry;
                assert!(fits, "{entry}: an operand shares memory with another that is written");
            }
        }
    }
}
