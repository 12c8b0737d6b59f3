//! How long each shader takes, by the device's own clock.

use super::context::{Context, context, locked};
use super::dispatch::Dispatch;
use super::fault::Fault;
use super::memory::Memory;
use crate::buffer::Kind;

/// The most dispatches that one profile holds.
const MOST_DISPATCHES: u32 = 2_048;

/// A dispatch and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// The file in `kernels/shaders`, without its ending.
    pub shader: &'static str,
    /// The function in it.
    pub entry: &'static str,
    /// From its begin to its end.
    pub seconds: f64,
}

/// The clock's readings at the begin and the end of each dispatch.
pub(super) struct Clock {
    queries: wgpu::QuerySet,
    dispatches: Vec<[&'static str; 2]>,
}

impl Clock {
    fn new(context: &Context) -> Clock {
        let queries = context.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("clock"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * MOST_DISPATCHES,
        });
        Clock { queries, dispatches: Vec::new() }
    }

    /// Where the next dispatch's readings go; it must be a pass of its own.
    ///
    /// # Panics
    /// If there are more than a profile holds.
    pub fn next(
        &mut self,
        shader: &'static str,
        entry: &'static str,
    ) -> wgpu::ComputePassTimestampWrites<'_> {
        let place = self.dispatches.len() as u32;
        assert!(place < MOST_DISPATCHES, "a profile holds {MOST_DISPATCHES} dispatches");
        self.dispatches.push([shader, entry]);
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * place),
            end_of_pass_write_index: Some(2 * place + 1),
        }
    }

    fn read(self, context: &Context) -> Result<Vec<Timing>, Fault> {
        let readings = 2 * self.dispatches.len() as u32;
        if readings == 0 {
            return Ok(Vec::new());
        }
        let bytes = u64::from(readings) * 8;
        let resolved = context.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("clock"),
            size: bytes,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut recorder = locked(&context.recorder);
        recorder.encoder(context).resolve_query_set(&self.queries, 0..readings, &resolved, 0);
        let read = recorder.read(context, &resolved, 0..bytes)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&read);
        let seconds = f64::from(context.queue.get_timestamp_period()) * 1e-9;
        let timing = |([shader, entry], ticks): (&[&'static str; 2], &[u64])| Timing {
            shader,
            entry,
            seconds: ticks[1].saturating_sub(ticks[0]) as f64 * seconds,
        };
        Ok(self.dispatches.iter().zip(ticks.chunks_exact(2)).map(timing).collect())
    }
}

/// The time of each dispatch that `body` records; none where the device has no clock. Each is a
/// pass of its own then, so that all together take longer than without the clock.
///
/// # Panics
/// If there are more than 2,048 of them, or [`open`](super::open) has not succeeded before.
pub fn profile(body: impl FnOnce()) -> Option<Vec<Timing>> {
    let context = context();
    if !context.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        return None;
    }
    {
        let mut recorder = locked(&context.recorder);
        recorder.submit(context);
        recorder.clock = Some(Clock::new(context));
    }
    body();
    let clock = locked(&context.recorder).clock.take()?;
    clock.read(context).map_err(|fault| context.fail(fault)).ok()
}

/// Rounds of a thread of `peak.wgsl`, and its multiply-adds: eight vectors of four a round.
const PEAK_ROUNDS: u32 = 1024;
const PEAK_MULTIPLY_ADDS: usize = PEAK_ROUNDS as usize * 8 * 4;
/// Threads of a measurement: sixteen workgroups for each of 256 processors.
const PEAK_THREADS: usize = 256 * 256 * 16;

/// The multiply-adds of independent chains in registers, in FLOP a second, the best of five runs:
/// what a shader can reach at most. None where the device has no clock.
#[must_use]
pub fn peak_flops() -> Option<f64> {
    let sums = Memory::unspecified(Kind::Real, PEAK_THREADS);
    // A program on the CPU would take minutes.
    let threads = if super::open().ok()?.is_software { PEAK_THREADS / 256 } else { PEAK_THREADS };
    let run = || {
        let dispatch = Dispatch::new("peak", "peak").constant("ROUNDS", PEAK_ROUNDS);
        dispatch.write(&sums).real(0.5).run(threads);
    };
    let times = profile(|| (0..5).for_each(|_| run()))?;
    let best = times.iter().map(|timing| timing.seconds).fold(f64::INFINITY, f64::min);
    Some((2 * PEAK_MULTIPLY_ADDS * threads) as f64 / best)
}
