//! What a training step takes from the allocator once the first epoch is over: no block of any
//! size that matters, and a few small ones an operation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use toile::nn::Sequential;
use toile::ops::gather::{Normalization, Resident};
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, SUMMARY_LEN, Shape, models};
use toile_kernels::buffer::blocks_cut_for_tasks;
use toile_kernels::threads::Workers;

/// From this size on a block counts as large: a page.
const LARGE: usize = 4096;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static LARGE_CALLS: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, and a count of the blocks that any thread takes from it.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(bytes: usize) {
    CALLS.fetch_add(1, Relaxed);
    LARGE_CALLS.fetch_add(usize::from(bytes >= LARGE), Relaxed);
    LARGEST.fetch_max(bytes, Relaxed);
}

// The one unsafe code outside of `kernels`: an allocator cannot be written without.
// SAFETY: every call goes to the system's allocator as it came; counting takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        // SAFETY: the caller keeps to the contract of `realloc`.
        unsafe { System.realloc(start, layout, bytes) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }
}

/// What was taken from the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    blocks: usize,
    large: usize,
    /// Bytes of the largest block.
    largest: usize,
}

fn taken_by(work: impl FnOnce()) -> Taken {
    [&CALLS, &LARGE_CALLS, &LARGEST].iter().for_each(|counter| counter.store(0, Relaxed));
    work();
    let [blocks, large, largest] = [&CALLS, &LARGE_CALLS, &LARGEST].map(|c| c.load(Relaxed));
    Taken { blocks, large, largest }
}

/// The operations of a step on the reference network with its stages fused: gather, 2 blocks,
/// convolution and bias, batch norm, dropout, reshape, two hidden layers (the first with batch
/// norm), the last layer, cross-entropy, Adam.
const OPERATIONS: usize = 1 + 2 + 2 + 1 + 1 + 1 + 5 + 4 + 2 + 1 + 1;

const BATCH: usize = 32;
/// Three batches and a smaller last one.
const IMAGES: usize = 3 * BATCH + 13;

/// A network in training on made-up images.
struct Training {
    network: Sequential,
    optimizer: Optimizer,
    data: Resident,
    summary: Buffer,
    step: u32,
}

impl Training {
    fn new() -> Training {
        let image = Shape::new(&[28, 28, 1]);
        let network = Sequential::new(&models::reference(10), image, Device::Cpu, 42);
        let pixels: Vec<u8> = (0..IMAGES * image.len()).map(|i| (i * i % 251) as u8).collect();
        let labels: Vec<u8> = (0..IMAGES).map(|i| (i % 10) as u8).collect();
        Training {
            optimizer: Optimizer::new(network.parameters(), OptimizerSettings::default()),
            network,
            data: Resident {
                pixels: Buffer::from_slice(Device::Cpu, &pixels),
                labels: Buffer::from_slice(Device::Cpu, &labels),
                image,
            },
            summary: Buffer::zeros(Device::Cpu, SUMMARY_LEN),
            step: 0,
        }
    }

    /// The steps of an epoch as the training loop makes them, its validation, and what each step
    /// took.
    fn epoch(&mut self) -> Vec<Taken> {
        let order: Vec<u32> = (0..IMAGES as u32).rev().collect();
        let order = Buffer::from_slice(Device::Cpu, &order);
        let starts = (0..IMAGES).step_by(BATCH);
        let batches = starts.map(|first| order.slice(first..IMAGES.min(first + BATCH)));
        let steps = batches.map(|batch| taken_by(|| self.train_step(&batch))).collect();
        let (x, labels) = self.data.batch(&order, Normalization::default());
        let logits = self.network.inference().forward(&x);
        let _ = logits.cross_entropy(&labels, &mut self.summary);
        steps
    }

    fn train_step(&mut self, batch: &Buffer) {
        let (x, labels) = self.data.batch(batch, Normalization::default());
        let mut summary = self.summary.slice(0..SUMMARY_LEN);
        let logits = self.network.forward_train(&x, 42, self.step);
        let loss = logits.cross_entropy(&labels, &mut summary);
        let parameters = self.network.parameters();
        parameters.check_reached(&loss.mean.backward());
        self.optimizer.update(parameters, 1e-3, self.step.into(), &mut summary);
        self.step += 1;
    }
}

/// The variable that tells `with_workers` how many there are.
const WORKERS: &str = "TOILE_TEST_WORKERS";

/// Each number of workers in a process of its own, which begins with no block at all.
#[test]
fn a_step_takes_only_a_few_small_blocks_after_the_first_epoch() {
    for workers in ["1", "2", "3", "8"] {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["with_workers", "--exact", "--ignored", "--nocapture"]).env(WORKERS, workers);
        let output = test.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{text}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
    }
}

/// Workers run tasks in another order every time, so there are many epochs.
#[test]
#[ignore = "a part of the other test, in a process of its own"]
fn with_workers() {
    let workers: usize = std::env::var(WORKERS).map_or(2, |number| number.parse().unwrap());
    let steps: Vec<Taken> = Workers::new(workers).unwrap().run(|| {
        let mut training = Training::new();
        println!("{workers} workers, first epoch: {:?}", training.epoch());
        let cut = blocks_cut_for_tasks();
        let steps = (0..10).flat_map(|_| training.epoch()).collect();
        assert!(cut > 0, "tasks of a step need working memory");
        assert_eq!(blocks_cut_for_tasks(), cut, "no block is missing after the first epoch");
        steps
    });
    let most = steps.iter().max_by_key(|taken| taken.blocks).unwrap();
    let per_operation = most.blocks as f64 / OPERATIONS as f64;
    println!("{workers} workers, later: at most {most:?} a step, {per_operation:.1} an operation");
    for (step, taken) in steps.iter().enumerate() {
        assert_eq!(taken.large, 0, "step {step} after the first epoch: {taken:?}");
        assert!(taken.blocks <= 8 * OPERATIONS, "step {step} after the first epoch: {taken:?}");
        // Where there are several workers, their queues may grow.
        assert!(workers > 1 || taken == most, "step {step}: {taken:?}, another {most:?}");
    }
}
