//! Starting from a trained model: its numbers, and layers that stay as they are.

use std::path::Path;

use crate::checkpoint::{Architecture, Model};
use crate::error::{Error, Result};
use crate::models;
use crate::nn::{Summary, SummaryRow};
use crate::progress::Progress;
use crate::recipe::Config;
use crate::run_folder::ModelLocation;
use crate::shape::Shape;

/// How many layers, from the first, stay as they are.
///
/// # Errors
/// [`Error::Input`] if no layer has the name that the settings give, nothing would be left to
/// train, or there is nothing to keep.
pub(super) fn frozen_layers(
    config: &Config,
    architecture: &Architecture,
    classes: usize,
) -> Result<usize> {
    let Some(name) = &config.freeze else { return Ok(0) };
    if config.init.is_none() {
        return Err(Error::Input(format!(
            "freeze {name}: layers at their random start are not worth keeping; name a trained \
             model with --init, or leave --freeze out"
        )));
    }
    let Architecture { network, input } = architecture;
    let layers = models::layers(network, *input, classes, config.dropout)?;
    let rows = Summary::of(&layers, Shape::new(input)).rows;
    let has_numbers = |row: &SummaryRow| row.trainable > 0;
    // Behind the last layer with numbers nothing is left to train.
    let last = rows.iter().rposition(has_numbers).unwrap_or(0);
    let place = rows[..last].iter().position(|row| row.name == *name);
    place.map(|place| place + 1).ok_or_else(|| {
        let names = rows[..last].iter().filter(|row| has_numbers(row)).map(|row| row.name.as_str());
        Error::Input(format!(
            "freeze: expected a layer before {}, the last one: {}; found {:?}",
            rows[last].name,
            names.collect::<Vec<_>>().join(", "),
            name
        ))
    })
}

/// Takes over the numbers of the model at `path`, and how it turns pixels into numbers. Tensors
/// that depend on the number of classes stay at their start where that is another.
///
/// # Errors
/// [`Error::Input`] if there is no model or it is of another network; [`Error::Storage`] when
/// reading fails.
pub(super) fn start_from(model: &mut Model, path: &Path, progress: &mut Progress) -> Result<()> {
    let location = ModelLocation::find(path)?;
    let trained = Model::find(&location, model.network.device())?;
    if trained.architecture != model.architecture {
        let of = |model: &Model| {
            let [height, width, channels] = model.architecture.input;
            format!("{} for {height} by {width} by {channels} images", model.architecture.network)
        };
        return Err(Error::Input(format!(
            "--init: {} is the network {}, expected {}: choose a model that was trained on images \
             of the same size",
            location.weights.display(),
            of(&trained),
            of(model)
        )));
    }
    let mut fresh = Vec::new();
    let parameters = model.network.parameters_mut();
    let shapes: Vec<_> = parameters.iter().map(|p| (p.name().to_owned(), p.shape())).collect();
    for ((name, shape), theirs) in shapes.iter().zip(trained.network.parameters().iter()) {
        if theirs.shape() == *shape {
            parameters.set(name, &theirs.values().to_vec::<f32>());
        } else {
            fresh.push(name.as_str());
        }
    }
    model.normalization = trained.normalization;
    let of = location.weights.display();
    progress.note(&match fresh.is_empty() {
        true => format!("starting from all numbers of {of}"),
        false => format!(
            "starting from {of}, but for {}: {} classes, not {}",
            fresh.join(" and "),
            model.classes.len(),
            trained.classes.len()
        ),
    });
    Ok(())
}
