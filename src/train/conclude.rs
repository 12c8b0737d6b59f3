//! The end of a run: its model's answers to the test images, the report and the pictures.

use super::describe;
use super::parts::Parts;
use super::session::Ended;
use crate::checkpoint::Model;
use crate::data::Source;
use crate::error::Result;
use crate::evaluate::evaluate_split;
use crate::metrics::Evaluation;
use crate::plots::{Figures, Marks};
use crate::recipe::Config;
use crate::run_folder::{
    EVALUATION, Environment, PREDICTIONS, REPORT_JSON, REPORT_TEXT, RunFolder, read_history,
};

/// Evaluates the model that counts on the test images and writes the results; what says that
/// the run has finished comes last.
pub(super) fn conclude(
    config: &Config,
    model: &Model,
    ended: &Ended,
    source: &mut Source,
    parts: &Parts,
    run: &RunFolder,
) -> Result<Evaluation> {
    let test = source.load_test()?;
    Environment::record_data(run, &describe(source))?;
    let (predictions, evaluation) = evaluate_split(model, &test)?;
    let json = |value: serde_json::Result<Vec<u8>>| value.expect("plain values");
    let report = evaluation.report();
    run.write(PREDICTIONS, predictions.to_csv().as_bytes())?;
    run.write(REPORT_TEXT, report.to_string().as_bytes())?;
    run.write(REPORT_JSON, &json(serde_json::to_vec_pretty(&report)))?;
    let labels = source.train_labels();
    let figures = Figures {
        history: &read_history(run)?,
        marks: Marks {
            best_epoch: ended.best_epoch,
            stop: ended.reason,
            falls_on_plateaus: config.plateau.enabled && !config.schedule.depends_on_length(),
        },
        evaluation: &evaluation,
        predictions: &predictions,
        test_images: &test.images,
        training_labels: &labels[..parts.training],
        validation_labels: &labels[parts.validation.clone()],
    };
    for (name, picture) in figures.draw() {
        run.write(name, &picture)?;
    }
    run.write(EVALUATION, &json(serde_json::to_vec_pretty(&evaluation)))?;
    Ok(evaluation)
}
