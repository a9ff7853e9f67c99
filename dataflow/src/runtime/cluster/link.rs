//! A connection as timely uses it. A failure is reported to [`Liveness`] and hidden from timely.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::resume_unwind;
use std::sync::Arc;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::Name;
use super::liveness::Liveness;
use crate::metrics::Metrics;

/// A connection to another process. Timely clones it: one thread reads, another one writes.
pub(crate) struct Link {
    pub socket: TcpStream,
    pub peer: Name,
    pub liveness: Arc<Liveness>,
    pub metrics: Arc<Metrics>,
}

impl Link {
    /// Ends the thread that reads, after the workers have left. `resume_unwind` does not run the
    /// panic hook, so no panic message is printed; an error returned to timely would print one.
    fn leave(&self, why: &str) -> ! {
        self.liveness.connection_lost(&self.peer, why.to_owned());
        self.liveness.wait_for_workers();
        resume_unwind(Box::new("the connection ended"))
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => self.leave("it closed the connection"),
                Ok(bytes) => {
                    self.metrics.cluster_received.inc_by(bytes as u64);
                    return Ok(bytes);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.leave(&error.to_string()),
            }
        }
    }
}

impl Write for Link {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self.socket.write(buffer) {
            Ok(bytes) => {
                self.metrics.cluster_sent.inc_by(bytes as u64);
                Ok(bytes)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.liveness.connection_lost(&self.peer, error.to_string());
                Ok(buffer.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Link {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            peer: self.peer.clone(),
            liveness: self.liveness.clone(),
            metrics: self.metrics.clone(),
        })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    /// Timely calls this when it has sent everything on the connection.
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if !self.liveness.ended() {
            // An error means that the socket is closed already.
            let _ = self.socket.shutdown(how);
        }
        self.liveness.sender_finished();
        Ok(())
    }
}
