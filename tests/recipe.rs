//! Where settings come from, and what a config file may hold.

use std::path::{Path, PathBuf};

use toile::error::Error;
use toile::ops::augment::Flip;
use toile::recipe::{Config, Overrides, PlateauOverrides, RECIPES};

fn load(text: &str) -> Result<Overrides, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    std::fs::write(&path, text).unwrap();
    Overrides::load(&path)
}

fn resolve(file: &Overrides) -> Config {
    Config::resolve(file, &Overrides::default()).unwrap()
}

#[test]
fn the_standard_recipe_is_the_default() {
    assert_eq!(resolve(&Overrides::default()), Config::of_recipe("standard").unwrap());
    assert_eq!(RECIPES[0].name, "standard");
}

/// A digit's mirror image is another digit, or none.
#[test]
fn only_clothes_are_mirrored_unasked() {
    let flip_of = |text: &str| resolve(&load(text).unwrap()).augmentation.flip;
    assert_eq!(flip_of("data = \"fashion-mnist\""), Flip::Alternating);
    assert_eq!(flip_of("data = \"digits\""), Flip::None);
    assert_eq!(flip_of("data = \"shoes\"\n[augmentation]\nflip = \"random\""), Flip::Random);
    let flags = Overrides { data: Some("digits".into()), ..Overrides::default() };
    let config = Config::resolve(&load("recipe = \"quick\"").unwrap(), &flags).unwrap();
    assert_eq!(config.augmentation.flip, Flip::None);
}

#[test]
fn the_reference_recipe_is_what_was_published() {
    let config = Config::of_recipe("reference").unwrap();
    assert_eq!((config.epochs, config.batch_size, config.seed), (50, 128, 42));
    assert_eq!((config.learning_rate, config.val_size), (1e-3, 5000));
    assert_eq!((config.early_stopping.enabled, config.early_stopping.patience), (true, 10));
    assert_eq!((config.plateau.factor, config.plateau.patience), (0.2, 5));
    assert_eq!((config.plateau.min_delta, config.plateau.floor), (1e-4, 1e-4));
    assert_eq!((config.limit, config.max_steps, config.save_every), (None, None, None));
}

#[test]
fn every_recipe_is_in_range_and_carries_its_own_name() {
    for recipe in RECIPES {
        let config = Config::of_recipe(recipe.name).unwrap();
        assert_eq!(config.recipe, recipe.name);
        config.check().unwrap();
    }
    let fault = Config::of_recipe("fancy").unwrap_err().to_string();
    assert!(fault.contains("fancy") && fault.contains("reference"), "{fault}");
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_recipe() {
    let file =
        load("recipe = \"reference\"\nepochs = 7\nseed = 1\n[plateau]\npatience = 3\n").unwrap();
    let flags = Overrides { epochs: Some(9), ..Default::default() };
    let config = Config::resolve(&file, &flags).unwrap();
    assert_eq!((config.epochs, config.seed, config.batch_size), (9, 1, 128));
    assert_eq!((config.plateau.patience, config.plateau.factor), (3, 0.2));
}

fn assert_written_and_read_back(config: &Config) {
    let text = config.to_toml();
    let file = load(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
    assert_eq!(&resolve(&file), config, "{text}");
}

#[test]
fn a_written_config_runs_the_same_experiment() {
    assert_written_and_read_back(&resolve(&Overrides::default()));
    for seed in [0, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let overrides = Overrides {
            data: Some(PathBuf::from("/some \"folder\"\n")),
            epochs: Some(1),
            batch_size: Some(65_536),
            learning_rate: Some(0.1 + 0.2),
            seed: Some(seed),
            val_size: Some(1),
            limit: Some(3),
            max_steps: Some(4),
            save_every: Some(5),
            plateau: PlateauOverrides { enabled: Some(false), ..Default::default() },
            ..Default::default()
        };
        assert_written_and_read_back(&resolve(&overrides));
    }
}

/// Every setting that a file may hold, none of them a recipe's.
const EVERYTHING: &str = r#"
recipe = "quick"
data = "elsewhere"
epochs = 3
batch_size = 5
learning_rate = 0.25
seed = 6
val_size = 7
limit = 8
max_steps = 9
save_every = 10
init = "model"
freeze = "conv2"
standardize = false
label_smoothing = 0.125
average_decay = 0.875

[early_stopping]
enabled = true
patience = 11

[plateau]
enabled = true
factor = 0.75
patience = 12
min_delta = 0.5
floor = 0.0625

[schedule]
kind = "cosine"
warm_up = 0.3
start = 0.1
end = 0.2

[optimizer]
rule = "sgd"
beta1 = 0.8
beta2 = 0.98
epsilon = 0.001
momentum = 0.7
weight_decay = 0.01
largest_norm = 2.0

[dropout]
convolution = 0.11
dense = 0.22

[augmentation]
flip = "random"
shift = 3
rotation = 4.5
erasing = 0.35

[mixing]
method = "cutmix"
alpha = 1.5
"#;

#[test]
fn every_setting_is_taken_from_a_file() {
    let config = resolve(&load(EVERYTHING).unwrap());
    let written = config.to_toml();
    // But for the heading, what is written is what was read.
    assert_eq!(written.split_once('\n').unwrap().1.trim(), EVERYTHING.trim());
    assert_written_and_read_back(&config);
    let quick = Config::of_recipe("quick").unwrap().to_toml();
    let unchanged = written.lines().filter(|line| line.contains('=') && quick.contains(line));
    assert_eq!(unchanged.collect::<Vec<_>>(), ["recipe = \"quick\""]);
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_text_is_kept_byte_for_byte() {
    use std::os::unix::ffi::OsStrExt;
    let data = PathBuf::from(std::ffi::OsStr::from_bytes(b"/data/\xff\xfe"));
    assert_written_and_read_back(&resolve(&Overrides { data: Some(data), ..Default::default() }));
}

#[test]
fn a_bad_file_is_refused_with_its_name_and_the_reason() {
    let table: &[(&str, &[&str])] = &[
        ("epoch = 3", &["`epoch`", "`epochs`"]),
        ("[plateau]\nfactr = 0.5", &["`plateau.factr`", "`plateau.factor`"]),
        ("[plataeu]\nfactor = 0.5", &["`plataeu", "`plateau"]),
        ("out = \"x\"", &["`out`"]),
        ("epochs = 0", &["epochs", "1 to 100000", "0"]),
        ("epochs = -1", &["epochs", "1 to 100000", "-1"]),
        ("epochs = \"many\"", &["epochs", "line 1"]),
        ("batch_size = 65537", &["batch_size", "1 to 65536"]),
        ("val_size = 0", &["val_size", "from 1"]),
        ("learning_rate = nan", &["learning_rate", "above 0"]),
        ("learning_rate = -0.1", &["learning_rate", "above 0"]),
        ("learning_rate = inf", &["learning_rate", "finite"]),
        ("limit = 0", &["limit", "from 1"]),
        ("max_steps = 0", &["max_steps", "from 1"]),
        ("save_every = -5", &["save_every", "from 1"]),
        ("seed = -1", &["seed", "whole number"]),
        ("seed = \"18446744073709551616\"", &["seed", "18446744073709551615"]),
        ("[plateau]\nfactor = 1.0", &["plateau.factor", "below 1"]),
        ("[plateau]\npatience = -2", &["plateau.patience", "from 1"]),
        ("[early_stopping]\npatience = 0", &["early_stopping.patience", "from 1"]),
        ("plateau = 3", &["plateau"]),
        ("label_smoothing = 1.0", &["label_smoothing", "below 1"]),
        ("average_decay = -0.1", &["average_decay", "from 0"]),
        ("init = 3", &["init", "path"]),
        ("init = \"\"", &["init", "empty"]),
        ("data = \"\"", &["data", "empty"]),
        ("[schedule]\nkind = \"sine\"", &["sine", "constant", "cosine", "one-cycle"]),
        ("[schedule]\nwarm_up = 1.0", &["schedule.warm_up", "below 1"]),
        ("[schedule]\nend = 2.0", &["schedule.end", "from 0 to 1"]),
        ("[optimizer]\nrule = \"lion\"", &["lion", "adam", "sgd"]),
        ("[optimizer]\nbeta1 = 1.0", &["optimizer.beta1", "below 1"]),
        ("[optimizer]\nepsilon = 0.0", &["optimizer.epsilon", "at least 1e-30"]),
        ("[optimizer]\nweight_decay = nan", &["optimizer.weight_decay", "0 or more"]),
        (
            "[optimizer]\nlargest_norm = -1.0",
            &["optimizer.largest_norm", "0, or a finite number from"],
        ),
        ("[dropout]\ndense = 1.0", &["dropout.dense", "below 1"]),
        ("[augmentation]\nflip = \"up\"", &["up", "none", "random", "alternating"]),
        ("[augmentation]\nshift = 13", &["augmentation.shift", "0 to 12"]),
        ("[augmentation]\nrotation = 181.0", &["augmentation.rotation", "180"]),
        ("[augmentation]\nerasing = 1.5", &["augmentation.erasing", "from 0 to 1"]),
        ("[mixing]\nmethod = \"add\"", &["add", "mixup", "cutmix"]),
        ("[mixing]\nalpha = inf", &["mixing.alpha", "to 100"]),
        // What f32 would make 1, or 0.
        ("label_smoothing = 0.99999999", &["label_smoothing", "0.9999999"]),
        ("[dropout]\ndense = 0.99999999", &["dropout.dense", "0.9999999"]),
        ("[mixing]\nalpha = 1e-50", &["mixing.alpha", "0.000001"]),
        ("[optimizer]\nlargest_norm = 1e-50", &["optimizer.largest_norm", "1e-30"]),
        ("recipe = \"fancy\"", &["fancy", "reference"]),
        ("epochs = ", &["line 1"]),
        ("\u{0}", &["line 1"]),
    ];
    for (text, words) in table {
        let fault = load(text).expect_err(text);
        assert!(matches!(fault, Error::Input(_)), "{text}: {fault:?}");
        for word in words.iter().chain(&["settings.toml"]) {
            assert!(fault.to_string().contains(word), "{text}: no {word} in: {fault}");
        }
    }
}

#[test]
fn what_is_no_regular_file_of_sane_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.toml");
    std::fs::File::create(&large).unwrap().set_len(1 << 40).unwrap();
    let not_text = folder.path().join("bytes.toml");
    std::fs::write(&not_text, [0xff, 0xfe]).unwrap();
    for path in
        [folder.path(), &large, &not_text, Path::new("/dev/zero"), Path::new("missing.toml")]
    {
        let fault = Overrides::load(path).expect_err("refused");
        assert!(fault.to_string().contains(&path.display().to_string()), "{fault}");
        assert_eq!(fault.exit_code(), 2);
    }
}

#[test]
fn nesting_without_end_is_refused() {
    for deep in [
        format!("epochs = {}", "[".repeat(200_000)),
        format!("epochs = {}", "{a=".repeat(200_000)),
        format!("{}a = 1", "a.".repeat(200_000)),
        format!("[{}a]", "a.".repeat(200_000)),
    ] {
        assert!(load(&deep).is_err(), "{}", &deep[..20]);
    }
}

#[test]
fn an_unknown_key_is_answered_by_what_was_meant() {
    let message = |text: &str| load(text).unwrap_err().to_string();
    assert!(message("lr = 0.1").contains("`learning_rate`"));
    assert!(message("epoch = 1").contains("nearest known key is `epochs`"));
    let all = message("colour = 1");
    assert!(all.contains("known keys are") && all.contains("plateau.factor"), "{all}");
    let typed = message("epochs = \"3\"");
    assert!(typed.contains("a whole number") && !typed.contains("usize"), "{typed}");
}
