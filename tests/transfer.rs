//! A trained model that starts another: its numbers are taken over, frozen layers stay, and what
//! does not fit is told of.

mod made_up_data;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use safetensors::SafeTensors;
use tempfile::{TempDir, tempdir};

fn train(folder: &TempDir, line: &str, exit_code: i32) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(folder.path()).args(line.split_whitespace());
    for variable in ["RAYON_NUM_THREADS", "TOILE_DATA_DIR", "TOILE_ISA", "RUST_LOG", "CI"] {
        command.env_remove(variable);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(exit_code), "{line}: {stdout}{stderr}");
    (stdout, stderr)
}

fn tensors(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(run.join("best.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

fn accuracy(run: &Path) -> f64 {
    let text = fs::read_to_string(run.join("evaluation.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["accuracy"].as_f64().unwrap()
}

/// Runs that train to their end.
const CONFIG: &str = "recipe = \"reference\"\nearly_stopping.enabled = false";

const SETTINGS: &str = "--val-size 32 --batch-size 16 --out o --config c.toml";

/// Three classes teach a model that then tells five apart, by its last layer alone.
#[test]
fn a_frozen_model_learns_other_classes_by_its_head() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("c.toml"), CONFIG).unwrap();
    made_up_data::write(&folder.path().join("three"), 288, 60, 3);
    made_up_data::write(&folder.path().join("five"), 288, 100, 5);
    train(&folder, &format!("--data three {SETTINGS} --name first --epochs 30"), 0);
    let line = format!(
        "--data five {SETTINGS} --name second --epochs 30 --init o/first --freeze dense2 \
         --max-steps 300 --save-every 100"
    );
    let (_, said) = train(&folder, &line, 0);
    assert!(said.contains("but for dense3.weight and dense3.bias: 5 classes, not 3"), "{said}");
    // 256 weights and a bias for each class.
    assert!(said.contains("\n1,285 of the parameters are trainable"), "{said}");

    let runs = ["first", "second"].map(|name| folder.path().join("o").join(name));
    let [first, second] = runs.each_ref().map(|run| tensors(run));
    for (name, bytes) in &first {
        let kept = second[name] == *bytes;
        assert_eq!(kept, !name.starts_with("dense3"), "{name}");
    }
    let [first, second] = runs.each_ref().map(|run| accuracy(run));
    // By chance a third and a fifth.
    assert!(first > 0.9 && second > 0.5, "{first} and {second}");

    // The same classes: all numbers are taken over, and nothing trains them away.
    let line =
        format!("--data three {SETTINGS} --name third --init o/first --max-steps 1 --lr 1e-9");
    let (_, said) = train(&folder, &line, 0);
    assert!(said.contains("starting from all numbers of"), "{said}");
    assert!((accuracy(&folder.path().join("o/third")) - first).abs() < 0.1);

    // A stopped run goes on without its first model.
    fs::remove_dir_all(folder.path().join("o/first")).unwrap();
    train(&folder, "--resume o/second --max-steps 310", 0);
}

/// Where a run that was stopped could part from one that was not: frozen layers lie elsewhere in
/// memory, the first model's preprocessing is not the settings', the average is a model of its own,
/// and before the first checkpoint there are only the settings.
#[test]
fn a_run_that_began_with_a_model_goes_on_to_the_same_end() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("c.toml"), format!("{CONFIG}\nstandardize = true")).unwrap();
    made_up_data::write(&folder.path().join("three"), 288, 60, 3);
    train(&folder, &format!("--data three {SETTINGS} --name first --epochs 30"), 0);

    fs::write(folder.path().join("c.toml"), format!("{CONFIG}\naverage_decay = 0.9")).unwrap();
    let line = format!("--data three {SETTINGS} --freeze dense1 --epochs 2");
    train(&folder, &format!("{line} --name whole --init o/latest"), 0);
    let run = |name: &str| folder.path().join("o").join(name);
    let config = fs::read_to_string(run("whole").join("config.toml")).unwrap();
    assert!(config.contains("/o/first\"\n"), "the model itself, not where it was found: {config}");
    assert!(accuracy(&run("whole")) > 0.9, "{}", accuracy(&run("whole")));

    // An epoch has sixteen steps.
    for (name, steps) in [("late", 20), ("early", 1)] {
        train(&folder, &format!("{line} --name {name} --init o/first --max-steps {steps}"), 0);
    }
    for entry in fs::read_dir(run("early")).unwrap() {
        let path = entry.unwrap().path();
        if !["config.toml", ".toile.lock"].iter().any(|kept| path.ends_with(kept)) {
            fs::remove_file(path).unwrap();
        }
    }
    for (name, begins) in [("late", false), ("early", true)] {
        let (_, said) = train(&folder, &format!("--resume o/{name} --max-steps 32"), 0);
        assert_eq!(said.contains("starting from all numbers of"), begins, "{said}");
        assert!(tensors(&run(name)) == tensors(&run("whole")), "{name} ended with other weights");
        assert_eq!(accuracy(&run(name)), accuracy(&run("whole")));
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("c.toml"), CONFIG).unwrap();
    made_up_data::write(&folder.path().join("three"), 96, 18, 3);
    train(&folder, &format!("--data three {SETTINGS} --name first --max-steps 1"), 0);
    let refused = |flags: &str, words: &[&str]| {
        let line = format!("--data three {SETTINGS} --name second --max-steps 1 {flags}");
        let (_, said) = train(&folder, &line, 2);
        for word in words {
            assert!(said.contains(word), "{flags}: {said}");
        }
        assert!(!folder.path().join("o/second").exists());
    };
    refused("--init nowhere", &["nowhere", "train one first"]);
    refused("--init three", &["three"]);
    refused("--init o/first --freeze dense4", &["dense4", "dense3", "conv1, bn1"]);
    refused("--init o/first --freeze dense3", &["dense3", "the last one"]);
    refused("--freeze dense2", &["--init"]);
}
