//! What a suite of tests is given: a port, and what must outlive it; or nothing, where its server is not installed.

/// What makes a port for one test.
pub trait Made {
    /// The port.
    type Port;
    /// What must outlive it.
    type Kept;

    /// Both; `None`: the test is skipped, which was said.
    fn made(self) -> Option<(Self::Port, Self::Kept)>;
}

impl<P, K> Made for (P, K) {
    type Port = P;
    type Kept = K;

    fn made(self) -> Option<(P, K)> {
        Some(self)
    }
}

impl<P, K> Made for Option<(P, K)> {
    type Port = P;
    type Kept = K;

    fn made(self) -> Self {
        self
    }
}
