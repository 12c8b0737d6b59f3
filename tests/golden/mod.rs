//! The golden files of this folder, and the tables that comparisons with them are made in.

pub mod inputs;
mod operations;
mod optimizers;
pub mod reference_network;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use toile::Device;

/// The engine, and the plain loops in f64.
pub const DEVICES: [Device; 2] = [Device::Cpu, Device::Reference];

/// The content of a golden file.
pub fn read<T: DeserializeOwned>(file: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let text = fs::read(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// A list of numbers, of which some may be the strings "NaN", "inf" and "-inf".
pub fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Written(f64),
        Named(String),
    }
    let number = |number| match number {
        Number::Written(value) => Ok(value),
        Number::Named(name) => name.parse().map_err(serde::de::Error::custom),
    };
    Vec::deserialize(from)?.into_iter().map(number).collect()
}

/// The distance of two lists, as an L2 norm, relative to the norm of `expected`; the distance
/// itself where that is 0.
#[track_caller]
pub fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "how many numbers there are");
    let gap: Vec<f64> = found.iter().zip(expected).map(|(f, e)| f - e).collect();
    let size = norm(expected);
    if size == 0.0 { norm(&gap) } else { norm(&gap) / size }
}

/// The largest distance of two numbers of the lists, relative to the expected one where that is
/// above 1; NaN if there is one.
#[track_caller]
pub fn largest_distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "how many numbers there are");
    let distances = found.iter().zip(expected).map(|(f, e)| (f - e).abs() / e.abs().max(1.0));
    distances.fold(0.0, |worst, next| if next <= worst { worst } else { next })
}

/// The L2 norm.
pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Errors beside their bounds, a line a quantity.
pub struct Table {
    text: String,
    faults: Vec<String>,
}

/// Lets `fill` compare, prints the table (`--nocapture` shows it), and panics with all faults.
#[track_caller]
pub fn table(title: &str, fill: impl FnOnce(&mut Table)) {
    let text = format!("\n{title}\n{:<54} error    bound    PyTorch's noise\n", "");
    let mut table = Table { text, faults: Vec::new() };
    fill(&mut table);
    println!("{}", table.text);
    assert!(table.faults.is_empty(), "{title}:\n{}", table.faults.join("\n"));
}

impl Table {
    /// Asks for `error` to be at most `bound`; NaN is not. `noise`: what rounding alone makes of
    /// the quantity in PyTorch, for the reader.
    pub fn check(&mut self, name: &str, error: f64, bound: f64, noise: Option<f64>) {
        let noise = noise.map_or(String::new(), |noise| format!("{noise:.1e}"));
        writeln!(self.text, "{name:<54} {error:<8.1e} {bound:<8.1e} {noise}").unwrap();
        if error.is_nan() || error > bound {
            self.faults.push(format!("{name}: error {error:.3e}, expected at most {bound:.1e}"));
        }
    }

    /// Asks for equality, where -0 equals 0 and NaN equals NaN.
    pub fn equal(&mut self, name: &str, found: &[f64], expected: &[f64]) {
        let same = |(f, e): (&f64, &f64)| f == e || f.is_nan() && e.is_nan();
        let wrong = found.iter().zip(expected).position(|pair| !same(pair));
        let fault = match wrong {
            _ if found.len() != expected.len() => {
                Some(format!("{} numbers, expected {}", found.len(), expected.len()))
            }
            Some(i) => Some(format!("element {i} is {}, expected {}", found[i], expected[i])),
            None => None,
        };
        let verdict = if fault.is_some() { "differs" } else { "equal" };
        writeln!(self.text, "{name:<54} {verdict:<8} exact").unwrap();
        self.faults.extend(fault.map(|fault| format!("{name}: {fault}")));
    }
}
