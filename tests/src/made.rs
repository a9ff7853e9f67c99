//! What a contract suite receives: a port and a guard that must outlive it, or nothing if the
//! server that the port needs is not installed.

/// The result of constructing a port for one test.
pub trait Made {
    /// The port.
    type Port;
    /// A value that must outlive the port, for example its folder or its server.
    type Guard;

    /// Returns the port and its guard. `None`: the test is skipped; the reason has already been
    /// printed.
    fn made(self) -> Option<(Self::Port, Self::Guard)>;
}

impl<P, K> Made for (P, K) {
    type Port = P;
    type Guard = K;

    fn made(self) -> Option<(P, K)> {
        Some(self)
    }
}

impl<P, K> Made for Option<(P, K)> {
    type Port = P;
    type Guard = K;

    fn made(self) -> Self {
        self
    }
}
