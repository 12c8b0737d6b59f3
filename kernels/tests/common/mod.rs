//! Random calls of kernels, and the checks that every call must pass.

pub mod geometries;
#[cfg(feature = "gpu")]
pub mod on_gpu;
pub mod one_layer;

use toile_kernels::rng::Stream;
use toile_kernels::threads::Workers;
use toile_kernels::{Buffer, Device, Isa, Kind, with_direct_convolution, with_forced};

/// What real numbers are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Whole numbers from -3 to 3: sums and products of them are exact in f32.
    Integers,
    /// Numbers from -2 to 2.
    Floats,
}

/// Draws sizes and numbers, the same ones in every run.
pub struct Random {
    stream: Stream,
    index: u64,
}

impl Random {
    /// The draws of shape `shape` of a kernel.
    pub fn new(kernel: &str, shape: u32) -> Random {
        let seed = kernel.bytes().fold(7, |seed: u64, b| seed.wrapping_mul(131) ^ u64::from(b));
        Random { stream: Stream { seed, purpose: 0, step: shape }, index: 0 }
    }

    fn word(&mut self) -> u32 {
        self.index += 1;
        self.stream.word(self.index)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        self.word() % end
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.word() as usize % choices.len()]
    }

    /// A batch size: one image, a part of a shard, and several shards of each length.
    pub fn images(&mut self) -> u32 {
        self.pick(&[1, 2, 5, 16, 17, 33])
    }

    /// A number of channels: around multiples of a vector's lanes.
    pub fn channels(&mut self) -> u32 {
        self.pick(&[1, 2, 3, 7, 10, 15, 16, 17, 31, 32, 33, 47, 48, 64, 65, 100])
    }

    /// A length of flat data; one in twenty spans several tasks.
    pub fn len(&mut self) -> u32 {
        match self.below(20) {
            0 => 16_000 + self.below(30_000),
            1..10 => 1 + self.below(40),
            _ => 1 + self.below(2_000),
        }
    }

    fn real(&mut self, fill: Fill) -> f32 {
        match fill {
            Fill::Integers => self.below(7) as f32 - 3.0,
            Fill::Floats => self.word() as f32 / 1_073_741_824.0 - 2.0,
        }
    }

    /// `len` real numbers.
    pub fn reals(&mut self, len: usize, fill: Fill) -> Data {
        Data::Real((0..len).map(|_| self.real(fill)).collect())
    }

    /// `len` real numbers that are not negative.
    pub fn positives(&mut self, len: usize, fill: Fill) -> Data {
        Data::Real((0..len).map(|_| self.real(fill).abs()).collect())
    }

    /// `len` bytes below `end`.
    pub fn bytes(&mut self, len: usize, end: u32) -> Data {
        Data::Byte((0..len).map(|_| self.below(end) as u8).collect())
    }

    /// `len` indices below `end`.
    pub fn indices(&mut self, len: usize, end: u32) -> Data {
        Data::Index((0..len).map(|_| self.below(end)).collect())
    }
}

/// An operand's numbers.
#[derive(Clone, Debug)]
pub enum Data {
    Real(Vec<f32>),
    Byte(Vec<u8>),
    Index(Vec<u32>),
}

/// An output of real numbers before the call, which has to overwrite them.
pub fn unwritten(len: usize) -> Data {
    Data::Real(vec![7.5; len])
}

/// An output of bytes before the call.
pub fn unwritten_bytes(len: usize) -> Data {
    Data::Byte(vec![77; len])
}

macro_rules! accessors {
    ($($name:ident $name_mut:ident $variant:ident $type:ty;)*) => {
        impl Data {
            $(pub fn $name(&self) -> &[$type] {
                match self { Data::$variant(values) => values, _ => panic!("another kind") }
            }
            #[allow(dead_code)]
            pub fn $name_mut(&mut self) -> &mut [$type] {
                match self { Data::$variant(values) => values, _ => panic!("another kind") }
            })*
        }
    };
}
accessors! {
    real real_mut Real f32;
    byte byte_mut Byte u8;
    index index_mut Index u32;
}

impl Data {
    fn to_buffer(&self, device: Device) -> Buffer {
        match self {
            Data::Real(values) => Buffer::from_slice(device, values),
            Data::Byte(values) => Buffer::from_slice(device, values),
            Data::Index(values) => Buffer::from_slice(device, values),
        }
    }

    fn absolute(&self) -> Data {
        match self {
            Data::Real(values) => Data::Real(values.iter().map(|x| x.abs()).collect()),
            other => other.clone(),
        }
    }

    fn bits(&self) -> Vec<u32> {
        match self {
            Data::Real(values) => values.iter().map(|x| x.to_bits()).collect(),
            Data::Byte(values) => values.iter().map(|&x| x.into()).collect(),
            Data::Index(values) => values.clone(),
        }
    }
}

/// The numbers of `buffer` in full precision.
fn wide(buffer: &Buffer) -> Vec<f64> {
    match buffer.kind() {
        Kind::Real => buffer.to_vec(),
        Kind::Byte => buffer.to_vec::<u8>().into_iter().map(f64::from).collect(),
        Kind::Index => buffer.to_vec::<u32>().into_iter().map(f64::from).collect(),
    }
}

pub type Kernel<T> = Box<dyn Fn(&[T], &mut [T]) + Sync>;

/// One kernel, one geometry, and operands.
pub struct Call {
    pub geometry: String,
    pub inputs: Vec<Data>,
    pub outputs: Vec<Data>,
    /// The line of the menu.
    pub menu: Kernel<Buffer>,
    /// The reference in f32.
    pub plain: Kernel<Data>,
}

impl Call {
    /// The same call with every convolution computed directly.
    pub fn directly(self) -> Call {
        let menu = self.menu;
        let menu: Kernel<Buffer> = Box::new(move |inputs, outputs| {
            with_direct_convolution(|| menu(inputs, outputs));
        });
        Call { menu, ..self }
    }

    fn run(&self, device: Device) -> Vec<Buffer> {
        let buffers = |data: &[Data]| data.iter().map(|d| d.to_buffer(device)).collect::<Vec<_>>();
        let mut outputs = buffers(&self.outputs);
        (self.menu)(&buffers(&self.inputs), &mut outputs);
        outputs
    }

    fn run_cpu(&self, isa: Isa, tile_rows: usize) -> Vec<Buffer> {
        with_forced(isa, tile_rows, || self.run(Device::Cpu))
    }

    fn run_plain(&self) -> Vec<Vec<u32>> {
        let mut outputs = self.outputs.clone();
        (self.plain)(&self.inputs, &mut outputs);
        outputs.iter().map(Data::bits).collect()
    }

    /// The same call on the operands' absolute values.
    fn absolute(&mut self) -> Vec<Buffer> {
        self.inputs.iter_mut().for_each(|d| *d = d.absolute());
        self.outputs.iter_mut().for_each(|d| *d = d.absolute());
        self.run(Device::Reference)
    }
}

/// Makes a [`Call`] of a kernel of the menu and of the reference: each operand with its kind.
#[macro_export]
macro_rules! call {
    ($kernel:ident, $g:expr; $($input:ident: $input_kind:ident = $input_data:expr),+
        => $($output:ident: $output_kind:ident = $output_data:expr),+) => {{
        let g = $g;
        $(let $input = $input_data;)+
        $(let $output = $output_data;)+
        Call {
            geometry: format!("{g:?}"),
            inputs: vec![$($input),+],
            outputs: vec![$($output),+],
            menu: Box::new(move |inputs, outputs| {
                let [$($input),+] = inputs else { unreachable!() };
                let [$($output),+] = outputs else { unreachable!() };
                toile_kernels::$kernel(&g, $($input,)+ $($output),+);
            }),
            plain: Box::new(move |inputs, outputs| {
                let [$($input),+] = inputs else { unreachable!() };
                let [$($output),+] = outputs else { unreachable!() };
                toile_kernels::reference::$kernel(
                    &g, $($input.$input_kind(),)+ $($output.$output_kind()),+);
            }),
        }
    }};
}

/// What a kernel promises.
pub struct Promise {
    /// Whole numbers give the reference's results exactly.
    pub exact: bool,
    /// Where the multiply-add rounds once, the bits are those of the reference in f32.
    pub bits: bool,
    /// The kernel uses matrix tiles, whose height changes no bit.
    pub tiles: bool,
    /// How near it comes to the reference in f64.
    pub tolerance: Tolerance,
}

/// A largest difference, relative to something.
#[derive(Clone, Copy)]
pub enum Tolerance {
    /// To the sum of the absolute values of an output's terms.
    Terms(f64),
    /// To the largest of these sums: where the errors of neighbouring outputs mix.
    LargestTerms(f64),
    /// To the output, or to 1 where that is larger.
    Value(f64),
}

/// Random shapes that each kernel is called with.
const SHAPES: u32 = 200;

/// Calls a kernel with [`SHAPES`] random shapes and checks all that it promises, on every
/// instruction set that this machine has.
pub fn check(kernel: &str, promise: &Promise, make: impl Fn(&mut Random, Fill) -> Call) {
    for shape in 0..SHAPES {
        for fill in [Fill::Integers, Fill::Floats] {
            let call = make(&mut Random::new(kernel, shape), fill);
            let about = format!("{kernel}, shape {shape}, {fill:?}, {}", call.geometry);
            check_call(&about, promise, call, fill);
        }
    }
}

/// Calls a kernel likewise, and checks only that its bits are the same on instruction sets with FMA,
/// with tiles of any height and on any number of threads.
#[allow(dead_code, reason = "not of every test program")]
pub fn check_bits(kernel: &str, make: impl Fn(&mut Random, Fill) -> Call) {
    let promise =
        Promise { exact: false, bits: false, tiles: true, tolerance: Tolerance::Value(0.0) };
    for shape in 0..SHAPES {
        let call = make(&mut Random::new(kernel, shape), Fill::Floats);
        let about = format!("{kernel}, shape {shape}, {}", call.geometry);
        let mut expected: Option<Vec<Vec<u32>>> = None;
        for isa in Isa::available().filter(|&isa| isa != Isa::Portable) {
            let bits = bits(&call.run_cpu(isa, usize::MAX));
            let expected = expected.get_or_insert_with(|| bits.clone());
            assert_same(&bits, expected, &format!("{about}: {isa}"));
            check_paths(&about, &promise, &call, isa, expected);
        }
    }
}

fn check_call(about: &str, promise: &Promise, mut call: Call, fill: Fill) {
    let truth: Vec<_> = call.run(Device::Reference).iter().map(wide).collect();
    let plain = promise.bits.then(|| call.run_plain());
    let mut fused: Option<Vec<Vec<u32>>> = plain;
    let mut results = Vec::new();
    for isa in Isa::available() {
        let result = call.run_cpu(isa, usize::MAX);
        let bits = bits(&result);
        if isa != Isa::Portable {
            let expected = fused.get_or_insert_with(|| bits.clone());
            assert_same(&bits, expected, &format!("{about}: {isa}"));
        }
        check_paths(about, promise, &call, isa, &bits);
        results.push((isa, result));
    }
    let tolerance = if promise.exact && fill == Fill::Integers {
        Tolerance::Value(0.0)
    } else {
        promise.tolerance
    };
    let scale = scale(&mut call, tolerance, &truth);
    for (isa, result) in results {
        check_result(&format!("{about}: {isa}"), promise, tolerance, &result, &truth, &scale);
    }
}

/// What differences of a call's outputs are relative to.
fn scale(call: &mut Call, tolerance: Tolerance, truth: &[Vec<f64>]) -> Vec<Vec<f64>> {
    match tolerance {
        Tolerance::Terms(_) | Tolerance::LargestTerms(_) => {
            call.absolute().iter().map(wide).collect()
        }
        Tolerance::Value(_) => truth.to_vec(),
    }
}

fn check_result(
    about: &str,
    promise: &Promise,
    tolerance: Tolerance,
    result: &[Buffer],
    truth: &[Vec<f64>],
    scale: &[Vec<f64>],
) {
    // Where rounding decides between equals, only the reference in f32 has the same codes.
    let compared = |buffer: &Buffer| promise.exact || buffer.kind() == Kind::Real;
    for (output, result) in result.iter().enumerate().filter(|(_, b)| compared(b)) {
        let about = format!("{about}, output {output}");
        check_near(&about, tolerance, result, &truth[output], &scale[output]);
    }
}

fn bits(buffers: &[Buffer]) -> Vec<Vec<u32>> {
    let one = |buffer: &Buffer| match buffer.kind() {
        Kind::Real => buffer.to_vec::<f32>().iter().map(|x| x.to_bits()).collect(),
        Kind::Byte => buffer.to_vec::<u8>().into_iter().map(u32::from).collect(),
        Kind::Index => buffer.to_vec::<u32>(),
    };
    buffers.iter().map(one).collect()
}

fn assert_same(found: &[Vec<u32>], expected: &[Vec<u32>], about: &str) {
    for (output, (found, expected)) in found.iter().zip(expected).enumerate() {
        let other = found.iter().zip(expected).position(|(found, expected)| found != expected);
        assert!(other.is_none(), "{about}: output {output} has other bits at {}", other.unwrap());
    }
}

/// Tile heights and numbers of threads change no bit.
fn check_paths(about: &str, promise: &Promise, call: &Call, isa: Isa, expected: &[Vec<u32>]) {
    for tile_rows in (1..=12).filter(|_| promise.tiles) {
        let found = bits(&call.run_cpu(isa, tile_rows));
        assert_same(&found, expected, &format!("{about}: {isa} with tiles of {tile_rows} rows"));
    }
    // A pool a test: a worker that waits may take up another test's call, and what is forced on
    // the thread would be forced on that as well.
    thread_local! {
        static WORKERS: [Workers; 4] = [1, 2, 3, 8].map(|n| Workers::new(n).unwrap());
    }
    WORKERS.with(|all| check_threads(about, all, call, isa, expected));
}

fn check_threads(about: &str, workers: &[Workers], call: &Call, isa: Isa, expected: &[Vec<u32>]) {
    for workers in workers {
        let found = workers.run(|| bits(&call.run_cpu(isa, usize::MAX)));
        assert_same(&found, expected, &format!("{about}: {isa} on {} threads", workers.count()));
    }
}

fn check_near(about: &str, tolerance: Tolerance, found: &Buffer, truth: &[f64], scale: &[f64]) {
    let found_wide = wide(found);
    let largest_scale = scale.iter().fold(0.0, |largest: f64, scale| largest.max(scale.abs()));
    for (i, ((found_number, truth), scale)) in found_wide.iter().zip(truth).zip(scale).enumerate() {
        let largest = match (found.kind(), tolerance) {
            (Kind::Byte | Kind::Index, _) => 0.0,
            (_, Tolerance::Terms(share)) => share * scale,
            (_, Tolerance::LargestTerms(share)) => share * largest_scale,
            (_, Tolerance::Value(share)) => share * scale.abs().max(1.0),
        };
        assert!(
            (found_number - truth).abs() <= largest,
            "{about}, number {i}: {found_number} instead of {truth}, allowed {largest:e}"
        );
    }
}
