//! Searches from outside: the same trials each time, gone on with after a stop, judged without the
//! test images, and ending in a config file that `train` takes.

mod made_up_data;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::{TempDir, tempdir};
use toile::recipe::{Config, DEFAULT_RECIPE};

const SPACE: &str = r#"
learning_rate = { from = 1e-4, to = 1e-2, scale = "log" }
"dropout.dense" = { from = 0, to = 0.5 }
schedule.kind = { choices = ["constant", "one-cycle"] }
[augmentation]
shift = { from = 0, to = 3 }
"#;

/// Five trials of one epoch, three of two, two of four; an epoch has four steps.
const SEARCH: &str = "--data data --val-size 32 --config c.toml --space space.toml --out o \
                      --trials 5 --eta 2 --epochs 4";

const TEST_IMAGES: &str = "data/t10k-images-idx3-ubyte";

/// A folder with data whose test images have a right header, and cannot be read to their end.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    made_up_data::write(&folder.path().join("data"), 96, 18, 3);
    let test_images = folder.path().join(TEST_IMAGES);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&fs::read(&test_images).unwrap()).unwrap();
    let mut packed = packed.finish().unwrap();
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    fs::write(test_images.with_extension("gz"), packed).unwrap();
    fs::remove_file(test_images).unwrap();
    fs::write(folder.path().join("c.toml"), "batch_size = 16\nearly_stopping.enabled = false")
        .unwrap();
    fs::write(folder.path().join("space.toml"), SPACE).unwrap();
    folder
}

fn program(name: &str, folder: &TempDir, line: &str) -> Command {
    let path = match name {
        "tune" => env!("CARGO_BIN_EXE_tune"),
        _ => env!("CARGO_BIN_EXE_train"),
    };
    let mut command = Command::new(path);
    command.current_dir(folder.path()).args(line.split_whitespace());
    for variable in ["RAYON_NUM_THREADS", "TOILE_DATA_DIR", "TOILE_ISA", "RUST_LOG", "CI"] {
        command.env_remove(variable);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end and expects this exit code; gives what was said on stdout and stderr.
fn ends(name: &str, folder: &TempDir, line: &str, exit_code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = program(name, folder, line).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(exit_code), "{line}: {stdout}{stderr}");
    assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    (stdout, stderr)
}

fn read(folder: &TempDir, path: &str) -> String {
    fs::read_to_string(folder.path().join(path)).unwrap()
}

/// All files below a folder, by path, with the time of their last change.
fn files(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        match metadata.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path, metadata.modified().unwrap())),
        }
    }
    found
}

/// The columns rung, trial, epochs, validation accuracy and loss.
fn rows(table: &str) -> Vec<[f64; 5]> {
    let number = |cell: &str| cell.parse().unwrap();
    let row = |line: &str| {
        let cells: Vec<f64> = line.split(',').take(5).map(number).collect();
        cells.try_into().unwrap()
    };
    table.lines().skip(1).map(row).collect()
}

/// Runs that a limit on steps ends inside an epoch are ranked by that epoch, whenever they are asked.
#[test]
fn a_search_of_cut_runs_is_the_same_again() {
    let folder = folder();
    fs::write(folder.path().join("c.toml"), "batch_size = 16\nmax_steps = 6").unwrap();
    // Rates at which the second epoch is the better one of trial 0, and not of others.
    let space = "learning_rate = { from = 1e-6, to = 1e-4, scale = \"log\" }";
    fs::write(folder.path().join("space.toml"), space).unwrap();
    let line = SEARCH.replace("--epochs 4", "--epochs 4 --recipe reference --name a");
    ends("tune", &folder, &line, 0);
    let table = read(&folder, "o/a/trials.csv");
    ends("tune", &folder, &line, 0);
    assert_eq!(read(&folder, "o/a/trials.csv"), table);

    // Stopped before that epoch was validated.
    let run = folder.path().join("o/a/rung-2");
    for entry in fs::read_dir(run).unwrap() {
        let path = entry.unwrap().path().join("training_history.csv");
        let history = fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> = history.lines().collect();
        fs::write(path, rows[..2].join("\n") + "\n").unwrap();
    }
    ends("tune", &folder, &line, 0);
    assert_eq!(read(&folder, "o/a/trials.csv"), table);
}

#[test]
fn the_better_part_goes_on_and_the_best_is_written() {
    let folder = folder();
    let (told, _) = ends("tune", &folder, &format!("{SEARCH} --name a --json"), 0);
    let events: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 11);
    assert!(events[..10].iter().all(|event| event["type"] == "trial"));
    let found = &events[10];
    assert_eq!(found["type"], "found");

    let rows = rows(&read(&folder, "o/a/trials.csv"));
    let of_rung = |rung| -> Vec<[f64; 5]> {
        let mut rows: Vec<_> = rows.iter().copied().filter(|row| row[0] == rung).collect();
        rows.sort_by(|a, b| b[3].total_cmp(&a[3]).then(a[4].total_cmp(&b[4])));
        rows
    };
    for (rung, trials, epochs) in [(0.0, 5, 1.0), (1.0, 3, 2.0), (2.0, 2, 4.0)] {
        let (here, above) = (of_rung(rung), of_rung(rung + 1.0));
        assert_eq!(here.len(), trials);
        for (i, row) in here.iter().enumerate() {
            assert_eq!(row[2], epochs);
            let run = format!("o/a/rung-{rung}/trial-{:03}", row[1]);
            let history = read(&folder, &format!("{run}/training_history.csv"));
            let last: Vec<_> = history.lines().last().unwrap().split(',').collect();
            assert_eq!([last[4].parse(), last[3].parse()], [Ok(row[3]), Ok(row[4])], "{run}");
            let goes_on = above.iter().any(|other| other[1] == row[1]);
            assert_eq!(goes_on, i < above.len(), "{run}");
        }
    }
    let best = of_rung(2.0)[0];
    assert_eq!(found["ranking"][0]["trial"], best[1] as u64);
    let places: Vec<_> =
        found["ranking"].as_array().unwrap().iter().map(|trial| &trial["rung"]).collect();
    assert_eq!(places, [2, 2, 1, 0, 0]);

    // Nothing of the test images was read, and nothing was made of them.
    for path in files(&folder.path().join("o")).keys() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!name.ends_with(".png") && name != "evaluation.json", "{}", path.display());
        if name == "env.json" {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains("train-images") && !text.contains("t10k-images"), "{text}");
        }
    }
    assert!(!folder.path().join("o/latest").exists(), "a search is no run");
    ends("train", &folder, "--config o/a/best.toml --name damaged --max-steps 1", 2);
    // Nor is it one to go on with as a run.
    let before = files(&folder.path().join("o/a"));
    let (_, said) = ends("train", &folder, "--resume o/a", 2);
    assert!(said.contains("that of a search") && said.contains("tune"), "{said}");
    assert_eq!(files(&folder.path().join("o/a")), before);

    made_up_data::write(&folder.path().join("data"), 96, 18, 3);
    ends("train", &folder, "--config o/a/best.toml --name final --out o", 0);
    let config = read(&folder, "o/final/config.toml");
    assert_eq!(config, read(&folder, "o/a/best.toml"));
    let config: toml::Table = config.parse().unwrap();
    assert_eq!(config["epochs"].as_integer(), Some(4));
    let settings = &found["ranking"][0]["settings"];
    assert_eq!(config["learning_rate"].as_float(), settings["learning_rate"].as_f64());
    assert_eq!(config["dropout"]["dense"].as_float(), settings["dropout.dense"].as_f64());
    assert_eq!(config["schedule"]["kind"].as_str(), settings["schedule.kind"].as_str());
}

#[test]
fn the_same_call_gives_the_same_trials_and_trains_none_again() {
    let folder = folder();
    let (said, _) = ends("tune", &folder, &format!("{SEARCH} --threads 1"), 0);
    for word in ["o/tune-001/best.toml", "(the recipe)", "32 validation images", "--seed"] {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
    ends("tune", &folder, &format!("{SEARCH} --threads 2"), 0);
    let table = read(&folder, "o/tune-001/trials.csv");
    assert_eq!(table, read(&folder, "o/tune-002/trials.csv"));

    let first = folder.path().join("o/tune-001");
    let before = files(&first);
    ends("tune", &folder, &format!("{SEARCH} --name tune-001"), 0);
    let changed: Vec<_> = files(&first)
        .into_iter()
        .filter(|(path, time)| before.get(path) != Some(time))
        .map(|(path, _)| path.file_name().unwrap().to_owned())
        .filter(|name| name != ".toile.lock")
        .collect();
    assert_eq!(changed, ["best.toml", "trials.csv"]);
    assert_eq!(table, read(&folder, "o/tune-001/trials.csv"));

    // A trial's folder that holds another trial, or was gone on with, is not believed.
    let rung = folder.path().join("o/tune-001/rung-0");
    let swap = || {
        for (from, to) in [("trial-000", "x"), ("trial-001", "trial-000"), ("x", "trial-001")] {
            fs::rename(rung.join(from), rung.join(to)).unwrap();
        }
    };
    swap();
    let (_, said) = ends("tune", &folder, &format!("{SEARCH} --name tune-001"), 2);
    assert!(said.contains("trial-000") && said.contains("learning_rate: "), "{said}");
    swap();
    made_up_data::write(&folder.path().join("data"), 96, 18, 3);
    ends("train", &folder, "--resume o/tune-001/rung-0/trial-001 --epochs 2", 0);
    let (_, said) = ends("tune", &folder, &format!("{SEARCH} --name tune-001"), 2);
    assert!(said.contains("trial-001") && said.contains("epochs: 2, not 1"), "{said}");

    let (_, said) = ends("tune", &folder, &format!("{SEARCH} --name tune-001 --seed 7"), 2);
    assert!(said.contains("tune-001") && said.contains("another --name"), "{said}");
    ends("tune", &folder, &format!("{SEARCH} --name other --seed 7"), 0);
    assert_ne!(table, read(&folder, "o/other/trials.csv"));
}

#[cfg(unix)]
#[test]
fn a_stopped_search_goes_on_to_the_same_end() {
    use std::time::{Duration, Instant};
    let folder = folder();
    ends("tune", &folder, &format!("{SEARCH} --name whole"), 0);
    let stops = [
        ("-INT", "rung-0/trial-002", Some(130)),
        ("-TERM", "rung-1", Some(143)),
        ("-KILL", "rung-2", None),
    ];
    for (signal, place, exit_code) in stops {
        let mut child = program("tune", &folder, &format!("{SEARCH} --name n")).spawn().unwrap();
        let start = Instant::now();
        while !folder.path().join("o/n").join(place).exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "{place} never came");
            std::thread::sleep(Duration::from_millis(1));
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), exit_code, "{signal}");
        assert!(!folder.path().join("o/n/best.toml").exists(), "{signal} came too late");
    }
    ends("tune", &folder, &format!("{SEARCH} --name n"), 0);
    for file in ["trials.csv", "best.toml"] {
        assert_eq!(
            read(&folder, &format!("o/n/{file}")),
            read(&folder, &format!("o/whole/{file}"))
        );
    }
}

#[test]
fn a_trial_that_diverges_is_the_worst_and_ends_no_search() {
    let folder = folder();
    fs::write(folder.path().join("space.toml"), "learning_rate = { choices = [1e30] }").unwrap();
    let (said, _) = ends("tune", &folder, &format!("{SEARCH} --name a"), 0);
    assert!(said.contains("diverged"), "{said}");
    let best: toml::Table = read(&folder, "o/a/best.toml").parse().unwrap();
    let recipe = Config::of_recipe(DEFAULT_RECIPE).unwrap();
    assert_eq!(best["learning_rate"].as_float(), Some(recipe.learning_rate));
    let table = read(&folder, "o/a/trials.csv");
    assert_eq!(table.lines().filter(|row| row.ends_with(",1,,,1e30")).count(), 4, "{table}");
    ends("tune", &folder, &format!("{SEARCH} --name a"), 0);
    assert_eq!(table, read(&folder, "o/a/trials.csv"));

    fs::write(folder.path().join("c.toml"), "learning_rate = 1e30\nbatch_size = 16").unwrap();
    let (_, said) = ends("tune", &folder, &format!("{SEARCH} --name b"), 4);
    assert!(said.contains("no trial stayed finite"), "{said}");
}

#[test]
fn bad_spaces_are_refused_before_anything_is_trained() {
    let table: &[(&str, &[&str])] = &[
        ("lerning_rate = { from = 1, to = 2 }", &["`lerning_rate`", "`learning_rate`"]),
        ("learning_rate = { from = -1, to = 1 }", &["learning_rate", "above 0", "found -1"]),
        ("learning_rate = { from = 0.1, to = inf }", &["learning_rate", "finite", "inf"]),
        (
            "learning_rate = { from = 1e-300, to = 1e300, scale = \"log\" }",
            &["learning_rate", "narrower"],
        ),
        ("learning_rate = { from = 0.1 }", &["learning_rate", "{ from = A, to = B }"]),
        ("learning_rate = { from = 0.1, to = 0.01 }", &["learning_rate", "lesser"]),
        ("learning_rate = { form = 0.1, to = 1 }", &["learning_rate", "form", "from"]),
        ("learning_rate = { from = 1, to = 1, scale = \"cubic\" }", &["cubic", "linear", "log"]),
        ("learning_rate = 0.1", &["learning_rate", "found 0.1", "--config"]),
        ("learning_rate = { choices = [] }", &["learning_rate", "no choice"]),
        ("optimizer.weight_decay = { from = 0, to = 1, scale = \"log\" }", &["log", "above 0"]),
        ("schedule.kind = { choices = [\"cosin\"] }", &["schedule.kind", "cosin", "one-cycle"]),
        ("schedule.kind = { from = \"constant\", to = \"cosine\" }", &["schedule.kind", "choices"]),
        ("augmentation.shift = { from = 0, to = 13 }", &["augmentation.shift", "0 to 12", "13"]),
        ("augmentation.shift = { from = 0.5, to = 2 }", &["augmentation.shift", "whole number"]),
        ("dropout = { choices = [{ dense = 0.1 }] }", &["dropout", "plain choices"]),
        ("dropout = { from = 0, to = 1 }", &["dropout"]),
        (
            "\"dropout.dense\" = { choices = [0] }\n[dropout]\ndense = { choices = [0] }",
            &["dropout.dense", "twice"],
        ),
        ("epochs = { from = 1, to = 9 }", &["epochs", "is not searched"]),
        ("seed = { choices = [1] }", &["seed", "is not searched"]),
        ("# nothing", &["nothing to search"]),
        ("learning_rate = ", &["line 1"]),
        ("batch_size = { choices = [16, 65] }", &["trial ", "batch_size 65", "at most 64"]),
    ];
    let folder = folder();
    for (space, words) in table {
        fs::write(folder.path().join("space.toml"), space).unwrap();
        let (_, said) = ends("tune", &folder, SEARCH, 2);
        for word in *words {
            assert!(said.contains(word), "{space}: no {word:?} in {said}");
        }
        let names_file = said.contains("space.toml") || said.contains("trial ");
        assert!(names_file, "{space}: {said}");
    }
    // A model to start from is looked for when a trial begins; a layer that does not exist is known
    // before.
    fs::write(folder.path().join("c.toml"), "init = \"m.safetensors\"").unwrap();
    fs::write(folder.path().join("space.toml"), "freeze = { choices = [\"conv1\", \"conv9\"] }")
        .unwrap();
    let (_, said) = ends("tune", &folder, &SEARCH.replace("--trials 5", "--trials 9"), 2);
    assert!(said.contains("trial ") && said.contains("found \"conv9\""), "{said}");
    for (flags, word) in [
        ("--space missing.toml", "missing.toml"),
        ("--trials 0", "1 to 1000"),
        ("--eta 1", "2 to 10"),
        ("--val-size 32 --config c.toml --name latest", "latest"),
        ("--val-size 96", "--val-size"),
    ] {
        let (_, said) = ends("tune", &folder, &format!("--data data --out o {flags}"), 2);
        assert!(said.contains(word), "{flags}: {said}");
    }
    assert!(!folder.path().join("o").exists());
}
