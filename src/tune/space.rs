//! What a search draws settings from: a range or a list of choices for each of some settings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toile_kernels::rng::{Stream, purpose};
use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::recipe::{Config, Overrides, file};

/// The space that is searched when none is given.
const USUAL: &str = include_str!("usual.toml");

/// Settings that are no part of a recipe's quality, or without which trials could not be compared.
const NOT_SEARCHED: [&str; 9] =
    ["recipe", "data", "epochs", "seed", "val_size", "limit", "max_steps", "save_every", "init"];

const EXPECTED: &str = "expected { from = A, to = B }, with scale = \"log\" if it is to be drawn by \
                        its size, or { choices = [A, B, ...] }; a setting that stays the same \
                        belongs in --config";

/// Ranges and choices, by the settings' dotted keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Space(BTreeMap<String, Range>);

#[derive(Clone, Debug, PartialEq)]
enum Range {
    Choices(Vec<Value>),
    Real { from: f64, to: f64, scale: Scale },
    Whole { from: i64, to: i64, scale: Scale },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scale {
    /// Numbers equally far apart are equally likely.
    #[default]
    Linear,
    /// Numbers of equal ratios are: for settings of which the size counts.
    Log,
}

/// A range as a file has it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Entry {
    from: Option<Value>,
    to: Option<Value>,
    scale: Option<Scale>,
    choices: Option<Vec<Value>>,
}

impl Space {
    /// The settings that most often matter, in ranges that suit Adam.
    ///
    /// # Panics
    /// Never: the space comes with the crate, and a test reads it.
    #[must_use]
    pub fn usual() -> Self {
        Self::of_toml(USUAL).expect("the usual space is valid")
    }

    /// Reads a space from a TOML file: a key for each setting that is searched, of the form
    /// `{ from = A, to = B }`, perhaps with `scale = "log"`, or `{ choices = [A, B] }`.
    ///
    /// # Errors
    /// [`Error::Input`] that names the file, the key and what is allowed, if the file cannot be
    /// read, or a key or a value in it would be refused in a config file.
    pub fn load(path: &Path) -> Result<Self> {
        let named = |fault: String| Error::Input(format!("space {}: {fault}", path.display()));
        file::read(path).and_then(|text| Self::of_toml(&text)).map_err(named)
    }

    fn of_toml(text: &str) -> std::result::Result<Self, String> {
        let table: Table = text.parse().map_err(|fault| format!("{fault}"))?;
        let mut entries = Vec::new();
        collect(table, "", &mut entries);
        let known = file::known_keys();
        let mut ranges = BTreeMap::new();
        for (key, value) in entries {
            file::check_key(&key, &known)?;
            if NOT_SEARCHED.contains(&key.as_str()) {
                return Err(format!(
                    "`{key}` is not searched: it must be the same for all trials, or says \
                     nothing about a recipe; set it in --config, or by its flag"
                ));
            }
            let range = Range::read(&key, value).map_err(|fault| format!("`{key}`: {fault}"))?;
            if ranges.insert(key.clone(), range).is_some() {
                return Err(format!("`{key}` is there twice; expected it once"));
            }
        }
        if ranges.is_empty() {
            return Err(format!("there is nothing to search; {EXPECTED}"));
        }
        Ok(Self(ranges))
    }

    /// The settings of a trial, a function of the seed, the trial and each setting's own key.
    /// Trial 0 has none: it is the recipe as it stands, which the others are compared with.
    ///
    /// # Panics
    /// Never: ranges were checked when they were read.
    #[must_use]
    pub fn draw(&self, seed: u64, trial: u32) -> Overrides {
        let drawn =
            |(key, range): (&String, &Range)| (key.clone(), range.at(uniform(seed, trial, key)));
        let drawn: Vec<_> = self.0.iter().filter(|_| trial > 0).map(drawn).collect();
        overrides(drawn).expect("what lies inside a range is allowed as its ends are")
    }

    /// The values that `config` has of the searched settings, by their dotted keys; empty text for
    /// one that it does not have.
    #[must_use]
    pub fn values(&self, config: &Config) -> BTreeMap<String, Value> {
        let table = settings(config);
        let none = || Value::String(String::new());
        let value = |key| lookup(&table, key).cloned().unwrap_or_else(none);
        self.0.keys().map(|key| (key.clone(), value(key))).collect()
    }
}

/// A line a setting.
impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(key, range)| writeln!(f, "{key}: {range}"))
    }
}

/// The entries of a space by their dotted keys: tables are groups until one has a range's keys.
fn collect(table: Table, prefix: &str, entries: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(group) if !is_range(&group) && !group.is_empty() => {
                collect(group, &format!("{key}."), entries);
            }
            _ => entries.push((key, value)),
        }
    }
}

fn is_range(table: &Table) -> bool {
    ["from", "to", "scale", "choices"].iter().any(|key| table.contains_key(*key))
}

fn settings(config: &Config) -> Table {
    Table::try_from(config).expect("settings are plain values")
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((group, key)) => lookup(table.get(group)?.as_table()?, key),
        None => table.get(key),
    }
}

/// Settings from values by dotted keys, checked like a config file.
fn overrides(
    values: impl IntoIterator<Item = (String, Value)>,
) -> std::result::Result<Overrides, String> {
    // A dotted key of TOML is a path through tables.
    let line = |(key, value)| format!("{key} = {value}\n");
    Overrides::of_toml(&values.into_iter().map(line).collect::<String>())
}

/// A number from 0 to below 1 with 53 random bits.
fn uniform(seed: u64, trial: u32, key: &str) -> f64 {
    // A setting's draws must not depend on which others are searched beside it.
    let hash = Sha256::digest(key);
    let index = u64::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes"));
    let [high, low, ..] = Stream { seed, purpose: purpose::TUNE, step: trial }.block(index);
    ((u64::from(high) << 32 | u64::from(low)) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Range {
    fn read(key: &str, value: Value) -> std::result::Result<Self, String> {
        let entry = match value {
            Value::Table(table) => table
                .try_into::<Entry>()
                .map_err(|fault| format!("{}; {EXPECTED}", fault.to_string().trim_end()))?,
            other => return Err(format!("found {other}; {EXPECTED}")),
        };
        let allowed = |value: &Value| overrides([(key.to_owned(), value.clone())]).map(drop);
        match entry {
            Entry { choices: Some(choices), from: None, to: None, scale: None } => {
                if choices.is_empty() {
                    return Err("there is no choice; expected one or more".to_owned());
                }
                choices.iter().try_for_each(allowed)?;
                if let Some(group) = choices.iter().find(|choice| choice.is_table()) {
                    return Err(format!("found {group}, a group; expected plain choices"));
                }
                Ok(Range::Choices(choices))
            }
            Entry { from: Some(from), to: Some(to), scale, choices: None } => {
                [&from, &to].into_iter().try_for_each(allowed)?;
                Self::between(key, &from, &to, scale.unwrap_or_default())
            }
            _ => Err(EXPECTED.to_owned()),
        }
    }

    /// The range between two values that the setting may have.
    fn between(
        key: &str,
        from: &Value,
        to: &Value,
        scale: Scale,
    ) -> std::result::Result<Self, String> {
        let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
        let (Some(low), Some(high)) = (number(from), number(to)) else {
            return Err(format!("{from} and {to} are no numbers; expected {{ choices = [...] }}"));
        };
        if low > high {
            return Err(format!("goes from {from} down to {to}; expected the lesser number first"));
        }
        if scale == Scale::Log && low <= 0.0 {
            return Err(format!("from {from} on a log scale; expected a number above 0"));
        }
        if scale == Scale::Log && (high / low).is_infinite() {
            return Err(format!("from {from} to {to} on a log scale; expected a narrower range"));
        }
        let reference =
            settings(&Config::of_recipe(crate::recipe::DEFAULT_RECIPE).expect("exists"));
        Ok(match (lookup(&reference, key), from, to) {
            (Some(Value::Integer(_)), &Value::Integer(from), &Value::Integer(to)) => {
                Range::Whole { from, to, scale }
            }
            _ => Range::Real { from: low, to: high, scale },
        })
    }

    /// The value at a place from 0 to below 1.
    fn at(&self, place: f64) -> Value {
        match self {
            Range::Choices(choices) => choices[(place * choices.len() as f64) as usize].clone(),
            &Range::Real { from, to, scale } => {
                // Four digits are read and typed with less trouble, and as good; of a range that is
                // narrow beside its numbers, such as one next to 1, as many more as tell these apart.
                let number = scale.between(from, to, place);
                let narrow = libm::log10(number.abs() / (to - from));
                let more = if narrow.is_finite() { narrow.clamp(0.0, 13.0) as usize } else { 0 };
                let rounded = format!("{number:.*e}", 3 + more);
                let number: f64 = rounded.parse().expect("a number");
                Value::Float(number.clamp(from, to))
            }
            &Range::Whole { from, to, scale } => {
                // Each whole number has the part up to the next one.
                let number = scale.between(from as f64, (to + 1) as f64, place);
                Value::Integer((number as i64).clamp(from, to))
            }
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = |scale| if scale == Scale::Log { ", log" } else { "" };
        match self {
            Range::Choices(choices) => {
                let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
                write!(f, "one of {}", choices.join(", "))
            }
            Range::Real { from, to, scale } => write!(f, "{from:?} to {to:?}{}", log(*scale)),
            Range::Whole { from, to, scale } => write!(f, "{from} to {to}{}", log(*scale)),
        }
    }
}

impl Scale {
    fn between(self, from: f64, to: f64, place: f64) -> f64 {
        match self {
            Scale::Linear => from + place * (to - from),
            // The same bits on every platform, which std does not promise.
            Scale::Log => from * libm::pow(to / from, place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 4000;

    /// What 4,000 trials draw of one setting, sorted.
    fn draws(range: &str) -> Vec<f64> {
        let space = Space::of_toml(range).unwrap();
        let key = space.0.keys().next().unwrap();
        let number =
            |value: Value| value.as_float().unwrap_or_else(|| value.as_integer().unwrap() as f64);
        let draw = |trial| number(space.0[key].at(uniform(7, trial, key)));
        let mut found: Vec<f64> = (1..=DRAWS).map(draw).collect();
        found.sort_by(f64::total_cmp);
        found
    }

    /// The greatest distance of the draws' distribution from the one expected, which passes the
    /// Kolmogorov-Smirnov test at the level 0.001 below 1.95 / sqrt(n).
    fn assert_distributed(found: &[f64], expected: impl Fn(f64) -> f64) {
        let n = found.len() as f64;
        let distance = |(i, &x): (usize, &f64)| ((i as f64 + 0.5) / n - expected(x)).abs();
        let largest = found.iter().enumerate().map(distance).fold(0.0, f64::max);
        assert!(largest < 1.95 / n.sqrt(), "{largest}");
    }

    #[test]
    fn numbers_are_uniform_on_their_scale() {
        let found = draws("dropout.dense = { from = 0.1, to = 0.6 }");
        assert!(found[0] >= 0.1 && found[found.len() - 1] <= 0.6);
        assert_distributed(&found, |x| (x - 0.1) / 0.5);
        let found = draws("learning_rate = { from = 1e-4, to = 1e-1, scale = \"log\" }");
        assert!(found[0] >= 1e-4 && found[found.len() - 1] <= 1e-1);
        assert_distributed(&found, |x| (x / 1e-4).log10() / 3.0);
    }

    #[test]
    fn a_range_next_to_one_has_as_many_values_as_any() {
        for (from, to) in [(0.999, 0.99999), (0.9995, 0.999_99)] {
            let found = draws(&format!("average_decay = {{ from = {from}, to = {to} }}"));
            assert_distributed(&found, |x| (x - from) / (to - from));
        }
        let one = draws("average_decay = { from = 0.999, to = 0.999 }");
        assert!(one.iter().all(|&x| x == 0.999));
    }

    /// Counts within 4.5 deviations of a binomial distribution.
    fn assert_counts(found: &[f64], shares: &[(f64, f64)]) {
        let n = found.len() as f64;
        for &(value, share) in shares {
            let count = found.iter().filter(|&&x| x == value).count() as f64;
            let deviation = (n * share * (1.0 - share)).sqrt();
            assert!((count - n * share).abs() < 4.5 * deviation, "{value}: {count}");
        }
        assert!(found.iter().all(|x| shares.iter().any(|(value, _)| value == x)));
    }

    #[test]
    fn whole_numbers_and_choices_are_drawn_by_their_shares() {
        let found = draws("augmentation.shift = { from = 1, to = 4 }");
        assert_counts(&found, &[1.0, 2.0, 3.0, 4.0].map(|value| (value, 0.25)));
        // From 1 to 8, each number has the logarithm of the way to the next.
        let found = draws("augmentation.shift = { from = 1, to = 7, scale = \"log\" }");
        let share = |value: f64| (value, ((value + 1.0) / value).log2() / 3.0);
        assert_counts(&found, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].map(share));
        let found = draws("mixing.alpha = { choices = [0, 0.2, 1] }");
        assert_counts(&found, &[0.0, 0.2, 1.0].map(|value| (value, 1.0 / 3.0)));
        // A real setting is real also between whole numbers.
        assert_distributed(&draws("mixing.alpha = { from = 0, to = 1 }"), |x| x);
    }

    #[test]
    fn a_settings_draws_are_its_own() {
        let (alone, usual) =
            (Space::of_toml("[dropout]\ndense = { from = 0.0, to = 0.6 }"), Space::usual());
        let alone = alone.unwrap();
        for (seed, trial) in [(1, 1), (1, 2), (u64::MAX, 999)] {
            let (alone, usual) = (alone.draw(seed, trial), usual.draw(seed, trial));
            assert_eq!(alone.dropout.dense, usual.dropout.dense);
            assert_ne!(usual.dropout.dense.unwrap() / 2.0, usual.dropout.convolution.unwrap());
        }
        let dense = |seed, trial| alone.draw(seed, trial).dropout.dense;
        assert_ne!(dense(1, 1), dense(1, 2));
        assert_ne!(dense(1, 1), dense(2, 1));
        assert_eq!(usual.draw(1, 0), Overrides::default(), "trial 0 is the recipe");
    }
}
