//! Reading config files: what is wrong with one is said with its path, its key and a way out.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::{Config, DEFAULT_RECIPE, Overrides, limits};
use crate::error::{self, Error};
use crate::files::read_regular;

/// What the type of a count is called.
const WHOLE: &str = "expected a whole number";

/// Far more than all settings need; a larger file is something else.
const LARGEST_FILE: u64 = 1 << 20;

impl Overrides {
    /// Reads a config file.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing, is not a regular file of at most 1 MiB, is not
    /// TOML, or holds an unknown key or a value of the wrong type or outside its range.
    pub fn load(path: &Path) -> error::Result<Self> {
        let named =
            |fault: String| Error::Input(format!("config file {}: {fault}", path.display()));
        read(path).and_then(|text| Self::of_toml(&text)).map_err(named)
    }

    /// Reads the content of a config file, or says in a sentence what is wrong with it.
    pub(crate) fn of_toml(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|fault| format!("{fault}"))?;
        check_keys(&table)?;
        check_whole_numbers(&table)?;
        let overrides: Self = toml::from_str(text).map_err(|fault| {
            // The words of Rust's types are none of the user's.
            let text = format!("{fault}");
            ["usize", "u64", "u32"]
                .iter()
                .fold(text, |text, word| text.replace(&format!("expected {word}"), WHOLE))
        })?;
        // Ranges are reported here, where the file can be named, not after flags were applied.
        match Config::resolve(&overrides, &Self::default()) {
            Ok(_) => Ok(overrides),
            Err(fault) => Err(fault.to_string()),
        }
    }
}

/// The text of a file of settings.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let bytes = read_regular(path, LARGEST_FILE)
        .map_err(|fault| format!("{fault}; check path and permissions"))?;
    String::from_utf8(bytes).map_err(|_| {
        "expected settings as text in TOML, found bytes that are no UTF-8; check the path".into()
    })
}

/// The value of every setting as text, by its dotted path.
pub(super) fn values(table: &Table, prefix: &str, found: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => values(inner, &format!("{key}."), found),
            _ => drop(found.insert(key, value.to_string())),
        }
    }
}

/// The dotted path of every key, `[table]`s included.
fn keys(table: &Table, prefix: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        if let Value::Table(inner) = value {
            keys(inner, &format!("{key}."), found);
        }
        found.push(key);
    }
}

/// The dotted path of every setting, and of every group of settings.
pub(crate) fn known_keys() -> Vec<String> {
    let mut config = Config::of_recipe(DEFAULT_RECIPE).expect("the default recipe exists");
    config.limit = Some(1);
    config.max_steps = Some(1);
    config.save_every = Some(1);
    config.init = Some("model".into());
    config.freeze = Some("layer".into());
    let mut known = Vec::new();
    keys(&Table::try_from(config).expect("settings are plain values"), "", &mut known);
    known
}

/// Keys above this length are no slips of the pen, and comparing them costs time.
const LONGEST_SUGGESTED: usize = 64;

/// What was meant by a key that is not known.
fn suggestion(key: &str, known: &[String]) -> String {
    // The one flag that has another name than its key.
    if key == "lr" {
        return "the key of --lr is `learning_rate`".into();
    }
    let distance = |other: &&String| strsim::damerau_levenshtein(key, other);
    let nearest = known.iter().min_by_key(distance).expect("some keys are known");
    // Further apart than a slip of the pen, all keys say more than the nearest.
    if distance(&nearest) > key.len().max(nearest.len()) / 2 {
        return format!("known keys are {}", known.join(", "));
    }
    format!("the nearest known key is `{nearest}`")
}

fn check_keys(table: &Table) -> Result<(), String> {
    let known = known_keys();
    let mut found = Vec::new();
    keys(table, "", &mut found);
    found.iter().try_for_each(|key| check_key(key, &known))
}

/// Refuses a dotted path that is not among those `known`, with what may have been meant.
pub(crate) fn check_key(key: &str, known: &[String]) -> Result<(), String> {
    if known.iter().any(|known| known == key) {
        return Ok(());
    }
    if key.chars().count() > LONGEST_SUGGESTED {
        let start: String = key.chars().take(LONGEST_SUGGESTED).collect();
        return Err(format!("unknown key `{}...`", start.escape_debug()));
    }
    Err(format!("unknown key `{key}`; {}", suggestion(key, known)))
}

/// Negative numbers, above all, which the settings' own types could only call invalid.
fn check_whole_numbers(table: &Table) -> Result<(), String> {
    for limit in limits::IN_FILES {
        let mut value = None;
        let mut inside = Some(table);
        for part in limit.key.split('.') {
            value = inside.and_then(|table| table.get(part));
            inside = value.and_then(Value::as_table);
        }
        if let Some(number) = value.and_then(Value::as_integer) {
            limit.check(number.into())?;
        }
    }
    Ok(())
}

/// Seeds in TOML: its integers end at 2^63 - 1, so greater seeds are written as text.
pub(super) mod seed {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a whole number from 0 to 18446744073709551615")]
    enum Seed {
        Number(u64),
        Text(String),
    }

    pub fn serialize<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*seed) {
            Ok(number) => number.serialize(serializer),
            Err(_) => seed.to_string().serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        match Seed::deserialize(from)? {
            Seed::Number(number) => Ok(number),
            Seed::Text(text) => super::limits::SEED.parse(&text).map_err(D::Error::custom),
        }
    }

    pub fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        deserialize(from).map(Some)
    }
}
