//! How many trials are trained for how many epochs: successive halving (Jamieson and Talwalkar,
//! "Non-stochastic Best Arm Identification and Hyperparameter Optimization", arXiv:1502.07943).

/// One length of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Trials that are trained.
    pub trials: usize,
    /// Epochs of each.
    pub epochs: usize,
}

/// The rungs of a search, the shortest first: from one to the next one trial in `eta` goes on,
/// rounded up. The last one has all `epochs`, those before it `eta`, `eta`² ... times fewer,
/// rounded down. There are as many as leave the first an epoch, and the last two trials to compare,
/// if there are two.
///
/// # Panics
/// If `trials` or `epochs` is 0, or `eta` below 2.
#[must_use]
pub fn rungs(trials: usize, epochs: usize, eta: usize) -> Vec<Rung> {
    assert!(trials > 0 && epochs > 0 && eta > 1, "{trials} trials, {epochs} epochs, eta {eta}");
    let mut found = vec![Rung { trials, epochs }];
    let mut shares = 1;
    while let Rung { trials, .. } = found[found.len() - 1]
        && trials > eta
        && shares * eta <= epochs
    {
        shares *= eta;
        found.push(Rung { trials: trials.div_ceil(eta), epochs });
    }
    for rung in &mut found {
        rung.epochs = epochs / shares;
        shares /= eta;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_trials_get_more_epochs() {
        let pairs = |trials, epochs, eta| -> Vec<_> {
            rungs(trials, epochs, eta).iter().map(|rung| (rung.trials, rung.epochs)).collect()
        };
        assert_eq!(pairs(16, 10, 3), [(16, 1), (6, 3), (2, 10)]);
        assert_eq!(pairs(16, 50, 3), [(16, 5), (6, 16), (2, 50)]);
        assert_eq!(pairs(16, 16, 2), [(16, 2), (8, 4), (4, 8), (2, 16)]);
        assert_eq!(pairs(1000, 3, 3), [(1000, 1), (334, 3)], "too few epochs for more");
        assert_eq!(pairs(16, 1, 2), [(16, 1)]);
        assert_eq!(pairs(1, 10, 2), [(1, 10)]);
        assert_eq!(pairs(3, 10, 3), [(3, 10)]);
        assert_eq!(pairs(3, 10, 2), [(3, 5), (2, 10)]);
    }
}
