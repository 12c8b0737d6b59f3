//! The learning rate over a run, and what a validation loss decides: lower the learning rate, keep
//! the weights, stop.
//!
//! [`ScheduleSettings`] is a pure function of the step. The two machines that hear validation
//! losses follow Keras's callbacks of the same names (mode `min`, no cooldown), so that
//! a run can be compared with the reference epoch by epoch. They are plain values: fed one
//! validation loss an epoch, they answer what to do and touch nothing else. Their whole state
//! serialises, so a resumed run decides as the uninterrupted one would have.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate goes over a run, besides what [`ReduceOnPlateau`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// It stays as it is.
    Constant,
    /// It falls along half a cosine (Loshchilov and Hutter, arXiv:1608.03983).
    Cosine,
    /// It falls in a straight line: behind a warm-up, the one-cycle policy (Smith,
    /// arXiv:1803.09820).
    OneCycle,
}

/// A learning rate's way through a run: a warm-up in a straight line, then a fall. The default is
/// the reference recipe's: no warm-up and no fall.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSettings {
    /// The way after the warm-up.
    pub kind: ScheduleKind,
    /// The share of all steps that warm up, at least 0 and below 1.
    pub warm_up: f64,
    /// The share of the learning rate that the warm-up begins with, 0 to 1.
    pub start: f64,
    /// The share of the learning rate that the fall leads to, 0 to 1.
    pub end: f64,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        ScheduleSettings { kind: ScheduleKind::Constant, warm_up: 0.0, start: 0.04, end: 0.0 }
    }
}

impl ScheduleSettings {
    /// Whether the rate depends on how many steps there are in all.
    #[must_use]
    pub fn depends_on_length(&self) -> bool {
        self.kind != ScheduleKind::Constant || self.warm_up > 0.0
    }

    /// The share of the learning rate at step `step`, counted from 0, of `steps`: a function of
    /// these alone, the same bits on every platform.
    #[must_use]
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        let warm_up = self.warm_up * steps as f64;
        let (step, rest) = (step as f64, steps as f64 - warm_up);
        if step < warm_up {
            return self.start + (1.0 - self.start) * (step / warm_up);
        }
        let way = ((step - warm_up) / rest).min(1.0);
        let height = match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Cosine => 0.5 * (1.0 + libm::cos(PI * way)),
            ScheduleKind::OneCycle => 1.0 - way,
        };
        self.end + (1.0 - self.end) * height
    }
}

/// How [`ReduceOnPlateau`] behaves; the default is the reference recipe's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlateauSettings {
    /// Whether the learning rate is ever lowered.
    pub enabled: bool,
    /// What the learning rate is multiplied by, between 0 and 1.
    pub factor: f64,
    /// Epochs without improvement before the learning rate is lowered, at least 1.
    pub patience: u32,
    /// The validation loss must fall by more than this to count as improved.
    pub min_delta: f64,
    /// The learning rate is never lowered below this.
    pub floor: f64,
}

impl Default for PlateauSettings {
    fn default() -> Self {
        Self { enabled: true, factor: 0.2, patience: 5, min_delta: 1e-4, floor: 1e-4 }
    }
}

/// Lowers the learning rate when the validation loss has stopped falling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReduceOnPlateau {
    settings: PlateauSettings,
    /// `None` stands for infinity, which JSON cannot hold.
    best: Option<f64>,
    wait: u32,
}

impl ReduceOnPlateau {
    /// A machine that has seen no epoch yet.
    #[must_use]
    pub fn new(settings: PlateauSettings) -> Self {
        Self { settings, best: None, wait: 0 }
    }

    /// Takes the validation loss of the epoch that just ended and the learning rate it used;
    /// returns the learning rate of the next epoch.
    ///
    /// A loss that is not a number counts as no improvement.
    pub fn next_learning_rate(&mut self, validation_loss: f64, learning_rate: f64) -> f64 {
        if !self.settings.enabled {
            return learning_rate;
        }
        if validation_loss < self.best.unwrap_or(f64::INFINITY) - self.settings.min_delta {
            self.best = Some(validation_loss);
            self.wait = 0;
            return learning_rate;
        }
        self.wait = self.wait.saturating_add(1);
        // At the floor the count goes on, as it does in Keras: nothing is left to lower.
        if self.wait < self.settings.patience || learning_rate <= self.settings.floor {
            return learning_rate;
        }
        self.wait = 0;
        (learning_rate * self.settings.factor).max(self.settings.floor)
    }
}

/// How [`EarlyStopping`] behaves; the default is the reference recipe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlyStoppingSettings {
    /// Whether a run may stop before its last epoch. Where it may not, the best weights are
    /// still tracked, but the last ones count.
    pub enabled: bool,
    /// Epochs without a better validation loss before the run stops, at least 1.
    pub patience: u32,
}

impl Default for EarlyStoppingSettings {
    fn default() -> Self {
        Self { enabled: true, patience: 10 }
    }
}

/// What to do after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// This epoch's weights are the best so far: keep them.
    pub new_best: bool,
    /// The run is over, and the best weights are to be restored.
    pub stop: bool,
}

/// Tracks the best epoch by validation loss and ends a run that no longer improves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    settings: EarlyStoppingSettings,
    /// `None` stands for infinity, which JSON cannot hold.
    best_loss: Option<f64>,
    best_epoch: u32,
    epoch: u32,
}

impl EarlyStopping {
    /// A machine that has seen no epoch yet.
    #[must_use]
    pub fn new(settings: EarlyStoppingSettings) -> Self {
        Self { settings, best_loss: None, best_epoch: 0, epoch: 0 }
    }

    /// Takes the validation loss of the epoch that just ended.
    ///
    /// The first epoch's weights are always kept, even when its loss is not a number, so that
    /// there are weights to restore. An equal loss is not a better one.
    pub fn observe(&mut self, validation_loss: f64) -> Verdict {
        self.epoch = self.epoch.saturating_add(1);
        let better = validation_loss < self.best_loss.unwrap_or(f64::INFINITY);
        if better {
            self.best_loss = Some(validation_loss);
        }
        let new_best = better || self.epoch == 1;
        if new_best {
            self.best_epoch = self.epoch;
        }
        Verdict { new_best, stop: self.is_over() }
    }

    /// Whether the epochs so far have ended the run.
    #[must_use]
    pub fn is_over(&self) -> bool {
        // A first epoch that did not improve on infinity has waited for one epoch.
        let wait = match self.best_loss {
            Some(_) => self.epoch - self.best_epoch,
            None => self.epoch,
        };
        self.settings.enabled && wait >= self.settings.patience && self.epoch > 1
    }

    /// The best epoch so far, counted from 1; `None` before the first.
    #[must_use]
    pub fn best_epoch(&self) -> Option<u32> {
        (self.best_epoch > 0).then_some(self.best_epoch)
    }

    /// Epochs so far.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The best epoch's validation loss; `None` while no finite loss was seen.
    #[must_use]
    pub fn best_loss(&self) -> Option<f64> {
        self.best_loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Validation losses of the reference recipe run in Keras 3.15 (seed 0): it used 1e-3 up to
    /// epoch 17, 2e-4 up to epoch 31, then 1e-4, stopped after epoch 36 and restored epoch 26.
    #[rustfmt::skip]
    const KERAS: [f64; 36] = [
        0.9190, 0.3287, 0.2854, 0.2656, 0.2706, 0.2444, 0.2550, 0.2375, 0.2526, 0.2806, 0.2538, 0.2045,
        0.2376, 0.2278, 0.2208, 0.2367, 0.2221, 0.1848, 0.1847, 0.1832, 0.1831, 0.1832, 0.1836, 0.1840,
        0.1814, 0.1789, 0.1814, 0.1849, 0.1860, 0.1851, 0.1943, 0.1815, 0.1807, 0.1846, 0.1891, 0.1863,
    ];

    fn rates(settings: PlateauSettings, start: f64, losses: &[f64]) -> Vec<f64> {
        let mut plateau = ReduceOnPlateau::new(settings);
        let mut rate = start;
        losses
            .iter()
            .map(|&loss| {
                rate = plateau.next_learning_rate(loss, rate);
                rate
            })
            .collect()
    }

    fn verdicts(patience: u32, losses: &[f64]) -> Vec<(bool, bool)> {
        let mut stopping = EarlyStopping::new(EarlyStoppingSettings { enabled: true, patience });
        losses
            .iter()
            .map(|&loss| {
                let verdict = stopping.observe(loss);
                (verdict.new_best, verdict.stop)
            })
            .collect()
    }

    fn near(schedule: &ScheduleSettings, expected: &[(u64, f64)]) {
        for &(step, factor) in expected {
            let found = schedule.factor(step, 100);
            assert!((found - factor).abs() < 1e-12, "{schedule:?}, step {step}: {found}");
        }
    }

    /// 100 steps, of which 20 warm up from a tenth; by hand.
    #[test]
    fn schedules_by_hand() {
        let constant = ScheduleSettings::default();
        near(&constant, &[(0, 1.0), (50, 1.0), (99, 1.0), (1000, 1.0)]);
        let warm = ScheduleSettings { warm_up: 0.2, start: 0.1, ..constant };
        near(&warm, &[(0, 0.1), (10, 0.55), (19, 0.955), (20, 1.0), (99, 1.0)]);
        let one_cycle = ScheduleSettings { kind: ScheduleKind::OneCycle, end: 0.2, ..warm };
        near(&one_cycle, &[(0, 0.1), (20, 1.0), (60, 0.6), (99, 0.21), (100, 0.2), (500, 0.2)]);
        let cosine = ScheduleSettings { kind: ScheduleKind::Cosine, end: 0.0, ..warm };
        let third = 0.5 * (1.0 + 0.5f64.sqrt());
        near(&cosine, &[(0, 0.1), (20, 1.0), (40, third), (60, 0.5), (100, 0.0)]);
    }

    /// PyTorch's CosineAnnealingLR over 8 steps from 1 to 0.1.
    #[test]
    fn the_cosine_is_pytorchs() {
        let pytorch = [
            1.0,
            0.965_745_789_630_079_1,
            0.868_198_051_533_946_3,
            0.722_207_544_564_290_5,
            0.55,
            0.377_792_455_435_709_7,
            0.231_801_948_466_053_7,
            0.134_254_210_369_921,
        ];
        let cosine = ScheduleSettings {
            kind: ScheduleKind::Cosine,
            end: 0.1,
            ..ScheduleSettings::default()
        };
        for (step, expected) in (0..).zip(pytorch) {
            assert!((cosine.factor(step, 8) - expected).abs() < 1e-12, "step {step}");
        }
    }

    #[test]
    fn the_keras_run_is_replayed() {
        let mut plateau = ReduceOnPlateau::new(PlateauSettings::default());
        let mut stopping = EarlyStopping::new(EarlyStoppingSettings::default());
        let mut rate = 1e-3;
        for (index, &loss) in KERAS.iter().enumerate() {
            let epoch = index + 1;
            let expected: f64 = if epoch <= 17 {
                1e-3
            } else if epoch <= 31 {
                2e-4
            } else {
                1e-4
            };
            assert!((rate - expected).abs() < 1e-12, "epoch {epoch} used {rate}");
            rate = plateau.next_learning_rate(loss, rate);
            assert_eq!(stopping.observe(loss).stop, epoch == 36, "epoch {epoch}");
        }
        assert_eq!(stopping.best_epoch(), Some(26));
        assert_eq!(stopping.best_loss(), Some(0.1789));
    }

    #[test]
    fn state_survives_serialisation_at_every_epoch() {
        let mut plain = ReduceOnPlateau::new(PlateauSettings::default());
        let mut stored = plain.clone();
        let mut plain_stop = EarlyStopping::new(EarlyStoppingSettings::default());
        let mut stored_stop = plain_stop.clone();
        for &loss in &KERAS {
            stored = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
            stored_stop =
                serde_json::from_str(&serde_json::to_string(&stored_stop).unwrap()).unwrap();
            let next = plain.next_learning_rate(loss, 1e-3);
            assert_eq!(next, stored.next_learning_rate(loss, 1e-3));
            assert_eq!(plain_stop.observe(loss), stored_stop.observe(loss));
            assert_eq!(plain, stored);
        }
    }

    #[test]
    fn a_fall_of_exactly_min_delta_is_no_improvement() {
        let settings =
            PlateauSettings { patience: 1, min_delta: 0.5, floor: 0.0, ..Default::default() };
        assert_eq!(rates(settings, 1.0, &[2.0, 1.5]), [1.0, 0.2]);
        assert_eq!(rates(settings, 1.0, &[2.0, 1.25]), [1.0, 1.0]);
    }

    #[test]
    fn the_count_starts_again_after_each_reduction() {
        let settings =
            PlateauSettings { factor: 0.5, patience: 2, floor: 0.0, ..Default::default() };
        let flat = [1.0; 6];
        assert_eq!(rates(settings, 1.0, &flat), [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
    }

    #[test]
    fn the_floor_holds() {
        let settings =
            PlateauSettings { factor: 0.5, patience: 1, floor: 0.4, ..Default::default() };
        assert_eq!(rates(settings, 1.0, &[1.0, 1.0, 1.0, 1.0]), [1.0, 0.5, 0.4, 0.4]);
        // A rate that starts below the floor is never raised to it.
        assert_eq!(rates(settings, 0.1, &[1.0, 1.0]), [0.1, 0.1]);
    }

    #[test]
    fn not_a_number_waits_like_no_improvement() {
        let settings =
            PlateauSettings { factor: 0.5, patience: 2, floor: 0.0, ..Default::default() };
        let losses = [f64::NAN, f64::NAN, 1.0, f64::NAN, 0.5];
        assert_eq!(rates(settings, 1.0, &losses), [1.0, 0.5, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn disabled_machines_change_nothing() {
        let settings = PlateauSettings { enabled: false, patience: 1, ..Default::default() };
        assert_eq!(rates(settings, 1.0, &[1.0; 4]), [1.0; 4]);
        let settings = EarlyStoppingSettings { enabled: false, patience: 1 };
        let mut stopping = EarlyStopping::new(settings);
        for loss in [0.5, 1.0, 2.0, 3.0] {
            assert!(!stopping.observe(loss).stop);
        }
        assert_eq!(stopping.best_epoch(), Some(1));
    }

    #[test]
    fn a_tie_is_not_better() {
        assert_eq!(
            verdicts(2, &[1.0, 1.0, 0.5, 0.5, 0.5]),
            [(true, false), (false, false), (true, false), (false, false), (false, true)]
        );
    }

    #[test]
    fn the_first_epoch_is_kept_and_never_stops() {
        let nan = f64::NAN;
        assert_eq!(verdicts(1, &[nan, nan]), [(true, false), (false, true)]);
        assert_eq!(verdicts(3, &[nan, nan, nan]), [(true, false), (false, false), (false, true)]);
        assert_eq!(verdicts(2, &[nan, 1.0, nan]), [(true, false), (true, false), (false, false)]);
    }

    #[test]
    fn nothing_is_best_before_the_first_epoch() {
        let stopping = EarlyStopping::new(EarlyStoppingSettings::default());
        assert_eq!(stopping.best_epoch(), None);
        assert_eq!(stopping.best_loss(), None);
    }
}
