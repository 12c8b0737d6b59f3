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
mod model_rows;

use harness::{Good, Row};

/// The most memory that a bad input may take above a good one, in bytes.
const MOST_MORE_MEMORY: u64 = 64 << 20;

#[test]
fn every_bad_input_is_told_and_costs_nothing() {
    let good = Good::make();
    let tables: [Vec<Row>; 3] = [data_rows::rows(), model_rows::rows(), command_rows::rows()];
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
    println!("{} rows, the slowest took {slowest:.2} s", tables.iter().flatten().count());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Last, since what this process once took is charged to all programs that it starts.
    image_files::check();
}
