//! Work on its way to the device: recorded, submitted, waited for.

use std::collections::VecDeque;
use std::ops::Range;

use super::context::Context;
use super::fault::Fault;
use super::profile::Clock;

/// Dispatches that are recorded before they are submitted by themselves: more than a step has, and
/// few enough for a device that has nothing to do not to wait long for the first.
const MOST_RECORDED: u32 = 256;
/// Submissions that the device may have before it, besides the one that is being recorded.
const MOST_IN_FLIGHT: usize = 3;

/// What is recorded and not yet submitted, and what is submitted and perhaps not done.
#[derive(Default)]
pub(super) struct Recorder {
    // In this order: a pass ends before its encoder.
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<wgpu::CommandEncoder>,
    recorded: u32,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    staging: Option<wgpu::Buffer>,
    /// Where each dispatch is timed.
    pub clock: Option<Clock>,
}

impl Recorder {
    /// The encoder, outside of any pass.
    pub fn encoder(&mut self, context: &Context) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder
            .get_or_insert_with(|| context.device.create_command_encoder(&Default::default()))
    }

    /// Records a dispatch of `workgroups`.
    pub fn dispatch(
        &mut self,
        context: &Context,
        [file, entry]: [&'static str; 2],
        (pipeline, bind_group): (&wgpu::ComputePipeline, &wgpu::BindGroup),
        immediates: &[u32],
        workgroups: [u32; 3],
    ) {
        if self.pass.is_none() || self.clock.is_some() {
            self.begin_pass(context, file, entry);
        }
        let pass = self.pass.as_mut().expect("a pass was begun");
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, bind_group, &[]);
        pass.set_immediates(0, bytemuck::cast_slice(immediates));
        let [x, y, z] = workgroups;
        pass.dispatch_workgroups(x, y, z);
        self.recorded += 1;
        if self.recorded == MOST_RECORDED {
            self.submit(context);
        }
    }

    fn begin_pass(&mut self, context: &Context, file: &'static str, entry: &'static str) {
        let mut clock = self.clock.take();
        let timestamp_writes = clock.as_mut().map(|clock| clock.next(file, entry));
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        let pass = self.encoder(context).begin_compute_pass(&descriptor).forget_lifetime();
        self.pass = Some(pass);
        self.clock = clock;
    }

    /// Hands what is recorded to the device, and waits while it has too much before it.
    pub fn submit(&mut self, context: &Context) {
        self.pass = None;
        self.recorded = 0;
        let Some(encoder) = self.encoder.take() else { return };
        if context.fault().is_some() {
            return;
        }
        self.in_flight.push_back(context.queue.submit([encoder.finish()]));
        context.count(|made| made.submissions += 1);
        if self.in_flight.len() > MOST_IN_FLIGHT {
            let oldest = self.in_flight.pop_front();
            if let Err(fault) = wait(context, oldest) {
                context.fail(fault);
            }
        }
    }

    /// The bytes `range` of `buffer`, both ends multiples of four, after all that is recorded.
    pub fn read(
        &mut self,
        context: &Context,
        buffer: &wgpu::Buffer,
        range: Range<u64>,
    ) -> Result<Vec<u8>, Fault> {
        let len = range.end - range.start;
        let staging = self.staging(context, len);
        self.encoder(context).copy_buffer_to_buffer(buffer, range.start, &staging, 0, len);
        self.submit(context);
        if let Some(fault) = context.fault() {
            return Err(fault);
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, 0..len, move |mapped| {
            // Nobody waits any more after a timeout.
            let _ = sender.send(mapped);
        });
        wait(context, None)?;
        self.in_flight.clear();
        let mapped = receiver.try_recv().map_err(|_| Fault::Timeout(context.timeout))?;
        mapped.map_err(|error| refused(context, &error))?;
        let view = staging.get_mapped_range(0..len);
        let bytes = view.map(|view| view.to_vec());
        staging.unmap();
        context.count(|made| made.bytes_read += len);
        bytes.map_err(|error| refused(context, &error))
    }

    /// A buffer that can be mapped, of at least so many bytes: one for all reads.
    fn staging(&mut self, context: &Context, len: u64) -> wgpu::Buffer {
        if self.staging.as_ref().is_none_or(|staging| staging.size() < len) {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let descriptor = wgpu::BufferDescriptor {
                label: Some("staging"),
                size: len.next_power_of_two(),
                usage,
                mapped_at_creation: false,
            };
            context.count(|made| made.blocks += 1);
            self.staging = Some(context.device.create_buffer(&descriptor));
        }
        self.staging.clone().expect("it was made")
    }
}

/// Waits for a submission, or for all.
fn wait(context: &Context, submission: Option<wgpu::SubmissionIndex>) -> Result<(), Fault> {
    let timeout = Some(context.timeout);
    let poll = wgpu::PollType::Wait { submission_index: submission, timeout };
    match context.device.poll(poll) {
        Ok(_) => Ok(()),
        Err(wgpu::PollError::Timeout) => Err(Fault::Timeout(context.timeout)),
        Err(error) => Err(refused(context, &error)),
    }
}

/// Why a call failed: because of what was known before, or else by itself.
fn refused(context: &Context, error: &dyn std::error::Error) -> Fault {
    context.fault().unwrap_or_else(|| Fault::Refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gpu::context::locked;
    use crate::gpu::is_there;
    use crate::gpu::pipelines::Key;

    /// A device beside the process's own, which may fail.
    fn other_device() -> Option<Context> {
        is_there().then(|| pollster::block_on(Context::new()).expect("it was there before"))
    }

    fn buffer(context: &Context, len: u64) -> wgpu::Buffer {
        context.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: len * 4,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    /// Records a workgroup that counts through `rounds`.
    fn record_work(context: &Context, sums: &wgpu::Buffer, rounds: u32) {
        let constants = vec![("ROUNDS", f64::from(rounds).to_bits())];
        let key = Key { file: "peak", entry: "peak", constants };
        let (pipeline, bind_group) = context.pipelines.get(context, key, &[(1, sums)]);
        let immediates = [0, 0.5f32.to_bits()];
        let name = ["peak", "peak"];
        let mut recorder = locked(&context.recorder);
        recorder.dispatch(context, name, (&pipeline, &bind_group), &immediates, [1; 3]);
    }

    #[test]
    fn a_submission_that_takes_too_long_is_given_up() {
        let Some(mut context) = other_device() else { return };
        let sums = buffer(&context, 256);
        context.timeout = Duration::from_millis(1);
        record_work(&context, &sums, 1 << 20);
        let read = locked(&context.recorder).read(&context, &sums, 0..1024);
        assert_eq!(read, Err(Fault::Timeout(context.timeout)));
    }

    #[test]
    fn a_lost_device_is_told() {
        let Some(context) = other_device() else { return };
        let sums = buffer(&context, 256);
        record_work(&context, &sums, 1);
        assert!(locked(&context.recorder).read(&context, &sums, 0..1024).is_ok());
        context.device.destroy();
        record_work(&context, &sums, 1);
        let read = locked(&context.recorder).read(&context, &sums, 0..1024);
        assert!(matches!(read, Err(Fault::Lost(_))), "{read:?}");
        assert_eq!(context.fault(), read.err());
    }
}
