//! Every operation's own backward against central differences in f64, on random shapes.

use proptest::prelude::*;
use toile::gradcheck::{Draw, TOLERANCE, check};
use toile::ops::ALL;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    /// Sizes 1 to 6: odd sizes, one channel and batches of one are among them.
    #[test]
    fn every_operation(seed: u64, largest in 1usize..=6) {
        for (name, cases) in ALL {
            for case in cases(&mut Draw::new(seed, largest)) {
                let worst = check(&case).map_err(|e| TestCaseError::fail(format!("{name}: {e}")))?;
                prop_assert!(worst <= TOLERANCE, "{}: {worst:.1e}", case.name);
            }
        }
    }
}

/// The list of operations and the folder hold the same names, so none goes unchecked.
#[test]
fn the_list_equals_the_folder() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "mod")
        .collect();
    files.sort();
    let listed: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, files, "ops::ALL, in alphabetical order, and src/ops");
}

/// Every operation brings at least one case, and a wrong gradient is found.
#[test]
fn the_check_can_fail() {
    use toile::autograd::{Backward, GradientSlots};
    use toile::{Buffer, Shape, Tensor};

    struct Wrong;
    impl Backward for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
            let mut off: Vec<f64> = gradient.to_vec();
            off.iter_mut().for_each(|x| *x *= 1.0 + 1e-5);
            slots.slot(0).copy_from(&off);
        }
    }
    for (name, cases) in ALL {
        assert!(!cases(&mut Draw::new(1, 3)).is_empty(), "{name} has no case");
    }
    let identity =
        |x: &[Tensor]| Tensor::from_op(x[0].shape(), x[0].buffer().clone(), &[&x[0]], || Wrong);
    let case = toile::gradcheck::Case {
        name: "wrong".into(),
        inputs: vec![(Shape::new(&[3]), vec![1.0, 2.0, 3.0])],
        function: Box::new(identity),
    };
    assert!(check(&case).is_err());
}
