//! A connection as timely uses it. Timely never learns that it broke: [`Fate`] does.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::resume_unwind;
use std::sync::Arc;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::Name;
use super::fate::Fate;
use crate::metrics::Metrics;

/// One direction of a connection to another process.
pub(crate) struct Link {
    pub socket: TcpStream,
    pub peer: Name,
    pub fate: Arc<Fate>,
    pub metrics: Arc<Metrics>,
}

impl Link {
    /// Ends the thread that reads, once the workers have left. It is no panic that anybody is shown: those would be of timely.
    fn leave(&self, why: &str) -> ! {
        self.fate.lost(&self.peer, why.to_owned());
        self.fate.wait_for_workers();
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
                self.fate.lost(&self.peer, error.to_string());
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
            fate: self.fate.clone(),
            metrics: self.metrics.clone(),
        })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    /// The last that timely does with what it sends on.
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if !self.fate.ended() {
            // It may be closed already.
            let _ = self.socket.shutdown(how);
        }
        self.fate.sent();
        Ok(())
    }
}
