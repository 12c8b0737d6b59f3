//! Bad inputs of every kind against the real programs, one row a case: what each is told, by
//! which exit code it ends, and that it costs neither the user's files nor the machine.
//!
//! The table is shown by `cargo test --test bad_input -- --nocapture`.

// Named pipes, exit codes and peaks of memory as Unix has them.
#![cfg(unix)]

mod command_rows;
mod data_rows;
mod harness;
#[path = "../idx_files/mod.rs"]
mod idx_files;
mod image_files;
mod image_rows;
mod model_rows;
mod resume_rows;
mod snapshot;

use harness::{Good, Row};

/// The most memory that a bad input may take above a good one, in bytes.
const MOST_MORE_MEMORY: u64 = 64 << 20;

/// A case that takes more than one row to show, and the test that shows it.
struct Elsewhere {
    case: u32,
    what: &'static str,
    file: &'static str,
    test: &'static str,
}

#[rustfmt::skip]
const ELSEWHERE: [Elsewhere; 9] = [
    Elsewhere { case: 36, what: "power lost at any place of a save", file: "src/train/saved.rs", test: "every_state_that_a_broken_save_can_leave_loads" },
    Elsewhere { case: 38, what: "each bit of a checkpoint flipped", file: "src/train/saved.rs", test: "every_cut_and_every_flipped_bit_is_told" },
    Elsewhere { case: 42, what: "a disk that is full for a while", file: "tests/resume.rs", test: "a_full_disk_does_not_end_a_run" },
    Elsewhere { case: 56, what: "all kinds of pixels", file: "tests/images.rs", test: "files_are_seen_as_pillow_sees_them" },
    Elsewhere { case: 73, what: "a second signal", file: "tests/resume.rs", test: "a_second_signal_leaves_at_once" },
    Elsewhere { case: 74, what: "going on after a signal", file: "tests/resume.rs", test: "a_run_that_was_asked_to_stop_goes_on_to_the_same_end" },
    Elsewhere { case: 75, what: "SIGKILL at any moment", file: "tests/resume.rs", test: "kill_9_at_any_moment_loses_nothing" },
    Elsewhere { case: 76, what: "a disk that is full for a while", file: "tests/resume.rs", test: "a_full_disk_does_not_end_a_run" },
    Elsewhere { case: 78, what: "a panic of a worker thread", file: "kernels/src/threads.rs", test: "a_panic_in_a_task_is_the_callers" },
];

/// Checks that the tests of [`ELSEWHERE`] are there and always run.
fn check_elsewhere() {
    for Elsewhere { file, test, .. } in ELSEWHERE {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let source = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = source.lines().map(str::trim).collect();
        let name = format!("fn {test}() {{");
        let place = lines.iter().position(|line| *line == name);
        let place = place.unwrap_or_else(|| panic!("{file} has no {name}"));
        assert!(
            lines[..place].ends_with(&["#[test]"]),
            "{test} of {file} is no test that always runs"
        );
    }
}

#[test]
fn every_bad_input_is_told_and_costs_nothing() {
    let good = Good::make();
    // Those first that cost least: this process takes more for each checkpoint that it spoils.
    let tables: [Vec<Row>; 5] = [
        image_rows::rows(),
        data_rows::rows(),
        model_rows::rows(),
        command_rows::rows(),
        resume_rows::rows(),
    ];
    let mut faults = Vec::new();
    let mut slowest = 0.0_f64;
    println!(
        "{:>4}  {:<44} {:>4} {:>8} {:>10}",
        "case", "what is wrong", "exit", "seconds", "MiB more"
    );
    for row in tables.iter().flatten() {
        let outcome = good.run(row);
        let more = outcome.peak_bytes.saturating_sub(good.peak_bytes(row));
        let seconds = outcome.seconds;
        let mebibytes = more as f64 / f64::from(1 << 20);
        let exit = outcome.exit_code.map_or("none".to_owned(), |code| code.to_string());
        println!("{:>4}  {:<44} {exit:>4} {seconds:>8.2} {mebibytes:>10.1}", row.case, row.name);
        slowest = slowest.max(seconds);
        let mut found = outcome.faults;
        if more > MOST_MORE_MEMORY {
            found.push(format!("{mebibytes:.0} MiB more than a good run"));
        }
        faults
            .extend(found.iter().map(|fault| format!("case {}, {}: {fault}", row.case, row.name)));
    }
    for Elsewhere { case, what, file, test } in ELSEWHERE {
        println!("{case:>4}  {what:<44} see {test} in {file}");
    }
    println!("{} rows, the slowest took {slowest:.2} s", tables.iter().flatten().count());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Last, since what this process once took is charged to all programs that it starts.
    image_files::check();
    check_elsewhere();
}
