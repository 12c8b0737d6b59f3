//! From values to places along one side of a panel, and the round values to write there.

use super::style::short;

/// Values beyond these are drawn as these: differences and powers of them stay finite.
const LARGEST: f64 = 1e300;
const SMALLEST: f64 = 1e-300;
/// From this ratio of largest to least on, a linear scale would hide the small values.
const LOGARITHMIC_FROM: f64 = 20.0;

/// A scale along one side of a panel.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// The values at both ends; exponents of ten on a logarithmic scale.
    low: f64,
    high: f64,
    /// The places of both ends, in pixels.
    start: f64,
    end: f64,
    logarithmic: bool,
    /// Distance of the written values, in the same unit as `low`.
    step: f64,
}

impl Axis {
    /// A linear scale whose ends are `low` and `high`, with at most about `ticks` round values.
    pub fn exact(low: f64, high: f64, places: (f64, f64), ticks: usize) -> Self {
        let step = round_step((high - low) / ticks as f64);
        Self { low, high, start: places.0, end: places.1, logarithmic: false, step }
    }

    /// A linear scale that holds all finite values and ends at round ones.
    pub fn linear(values: &[f64], places: (f64, f64), ticks: usize) -> Self {
        let (low, high) = range(values, -LARGEST);
        // Equal values lie in the middle.
        let spread = if high > low { 0.0 } else { (0.1 * high.abs()).max(1e-3) };
        let axis = Self::exact(low - spread, high + spread, places, ticks);
        let step = axis.step;
        Self {
            low: (axis.low / step).floor() * step,
            high: (axis.high / step).ceil() * step,
            ..axis
        }
    }

    /// A logarithmic scale that holds all finite positive values and a little more.
    pub fn logarithmic(values: &[f64], places: (f64, f64), ticks: usize) -> Self {
        let positive: Vec<f64> = values.iter().copied().filter(|&value| value > 0.0).collect();
        let (low, high) = range(&positive, SMALLEST);
        let (low, high) = (low.max(SMALLEST).log10(), high.max(SMALLEST).log10());
        let spread = 0.05 * (high - low) + 0.05;
        let step = round_step((high - low) / ticks as f64).max(1.0);
        let (start, end) = places;
        Self { low: low - spread, high: high + spread, start, end, logarithmic: true, step }
    }

    /// For losses: logarithmic where they span more than an order of magnitude.
    pub fn fitting(values: &[f64], places: (f64, f64), ticks: usize) -> Self {
        let (_, high) = range(values, SMALLEST);
        let positive = values.iter().copied().filter(|&value| value > 0.0);
        let least = positive.fold(f64::INFINITY, f64::min);
        if high / least > LOGARITHMIC_FROM {
            Self::logarithmic(values, places, ticks)
        } else {
            Self::linear(values, places, ticks)
        }
    }

    /// Whether equal distances mean equal ratios.
    pub fn is_logarithmic(self) -> bool {
        self.logarithmic
    }

    /// The place of a value; values off the scale lie at its ends.
    pub fn place(self, value: f64) -> f64 {
        let value = value.clamp(-LARGEST, LARGEST);
        let value = if self.logarithmic { value.max(SMALLEST).log10() } else { value };
        let part = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.start + part * (self.end - self.start)
    }

    /// Round values along the scale, and how they are written.
    pub fn ticks(self) -> Vec<(f64, String)> {
        let values = if self.logarithmic { self.powers() } else { self.multiples() };
        values.into_iter().map(|value| (value, self.written(value))).collect()
    }

    fn multiples(self) -> Vec<f64> {
        let tolerance = 1e-6 * self.step;
        let first = ((self.low - tolerance) / self.step).ceil();
        let values = (0..100).map(|index| (first + f64::from(index)) * self.step);
        values.take_while(|&value| value <= self.high + tolerance).collect()
    }

    /// Powers of ten; twice and five times these too on a short scale.
    fn powers(self) -> Vec<f64> {
        let factors: &[f64] = if self.high - self.low < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let first = (self.low / self.step).floor();
        let exponents = (0..100).map(|index| (first + f64::from(index)) * self.step);
        let exponents = exponents.take_while(|&exponent| exponent <= self.high);
        let values = exponents
            .flat_map(|exponent| factors.iter().map(move |factor| factor * 10f64.powf(exponent)));
        values.filter(|value| (self.low..=self.high).contains(&value.log10())).collect()
    }

    fn written(self, value: f64) -> String {
        if self.logarithmic || self.step < 1e-4 || self.high.abs() >= 1e6 {
            return short(value);
        }
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{:.decimals$}", value + 0.0)
    }
}

/// The least and the greatest finite value, or 0 and 1 if there is none.
fn range(values: &[f64], least: f64) -> (f64, f64) {
    let finite = || values.iter().filter(|value| value.is_finite());
    if finite().next().is_none() {
        return (0.0, 1.0);
    }
    let low = finite().fold(f64::INFINITY, |low, &value| low.min(value));
    let high = finite().fold(f64::NEG_INFINITY, |high, &value| high.max(value));
    (low.clamp(least, LARGEST), high.clamp(least, LARGEST))
}

/// The next larger of 1, 2 and 5 times a power of ten.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.max(SMALLEST).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    power * steps.into_iter().find(|step| step * power >= raw * 0.999).unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(axis: Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::linear(&[0.153, 0.515], (500.0, 0.0), 6);
        assert_eq!(texts(axis), ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]);
        let axis = Axis::linear(&[81.2, 94.7], (500.0, 0.0), 5);
        assert_eq!(texts(axis), ["80", "85", "90", "95"]);
        let axis = Axis::fitting(&[0.02, 3.0], (500.0, 0.0), 6);
        assert_eq!(texts(axis), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]);
        let axis = Axis::logarithmic(&[1e-7, 1e12], (500.0, 0.0), 6);
        assert_eq!(texts(axis), ["1e-5", "1", "1e5", "1e10"]);
    }

    #[test]
    fn equal_ratios_are_equally_far() {
        let axis = Axis::fitting(&[1.0, 1e6], (0.0, 100.0), 6);
        let places = [1e2, 1e3, 1e4].map(|value| axis.place(value));
        assert!((places[1] - places[0] - (places[2] - places[1])).abs() < 1e-9, "{places:?}");
    }

    proptest! {
        /// Any values have places inside, in their order, and a few ticks.
        #[test]
        fn every_history_has_a_scale(mut values in prop::collection::vec(0.0..f64::MAX, 1..20)) {
            values.sort_by(f64::total_cmp);
            for axis in [
                Axis::fitting(&values, (0.0, 100.0), 6),
                Axis::linear(&values, (0.0, 100.0), 6),
                Axis::logarithmic(&values, (0.0, 100.0), 2),
            ] {
                let places: Vec<f64> = values.iter().map(|&value| axis.place(value)).collect();
                prop_assert!(places.is_sorted(), "{places:?}");
                prop_assert!(places.iter().all(|place| (0.0..=100.0).contains(place)));
                prop_assert!(axis.ticks().len() <= 12, "{:?}", axis.ticks());
            }
        }
    }
}
