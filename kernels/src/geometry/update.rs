//! The sizes and constants of what is done to parameters after a step.

geometry! {
    /// The look at all gradients before an update.
    CheckGradients {
        /// How many gradients there are.
        len,
    }
    /// The largest norm of all gradients together that is not scaled down; 0 for no limit.
    largest_norm: f32,
}

geometry! {
    /// One update by SGD with Nesterov's momentum (Sutskever et al., ICML 2013, in the form where
    /// the values are those looked ahead to).
    Sgd {
        /// How many parameters there are.
        len,
        /// How many of them decay: the first ones.
        decaying,
    }
    /// The learning rate.
    rate: f32,
    /// What is left of the velocity after a step.
    momentum: f32,
    /// The share of its value that is added to the gradient of a parameter that decays.
    weight_decay: f32,
}

geometry! {
    /// One update by Adam in Keras's form (Kingma and Ba, arXiv:1412.6980, section 2, with the
    /// bias corrections folded into the rate), with decoupled weight decay (Loshchilov and
    /// Hutter, arXiv:1711.05101).
    Adam {
        /// How many parameters there are.
        len,
        /// How many of them decay: the first ones.
        decaying,
    }
    /// The learning rate times sqrt(1 - beta2^t) / (1 - beta1^t).
    rate: f32,
    /// 1 - beta1, the gradient's share in the first moment. It is stored and not beta1, since
    /// the difference of a rounded number close to 1 would lose its last digits.
    share1: f32,
    /// 1 - beta2, the squared gradient's share in the second moment.
    share2: f32,
    /// Added to the square root of the second moment.
    epsilon: f32,
    /// The share of its value that a parameter that decays loses: learning rate times weight decay.
    decay: f32,
}

geometry! {
    /// A step of numbers towards others.
    MoveTowards {
        /// How many numbers there are.
        len,
    }
    /// The share of the way, 0 to 1.
    share: f32,
}
