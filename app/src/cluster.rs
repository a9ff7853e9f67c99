//! Several processes that count together: which they are, and how they find each other.
//!
//! ```text
//! options ─ check ─▶ listen ─▶ mesh: call, answer, make sure of each other (handshake) ─▶ connections ─▶ dataflow
//! ```
//!
//! All are connected before the one that leads asks for the views: of two clusters on the same views only complete ones
//! take turns, and the one that waits can take over as fast as a single process can.

mod handshake;
mod hello;
mod mesh;
mod state;

use std::sync::Arc;

use skytide_core::config::Cluster;
use skytide_dataflow::{Links, Name};
use tokio::net::TcpListener;

pub use handshake::{Manners, Refusal};
pub use hello::{Hello, own_build};
pub use mesh::{Mesh, MeshError};
pub use state::ClusterState;

use crate::failure::Failure;

/// A process's place among those that count together.
pub struct Place {
    options: Cluster,
    threads: usize,
    secret: Vec<u8>,
    /// Whether the others are there.
    pub state: Arc<ClusterState>,
}

impl Place {
    /// What the options say, for processes with so many threads each; `None`: there is only this one.
    ///
    /// # Errors
    /// They do not make a cluster, or the secret cannot be read.
    pub fn of(options: &Cluster, threads: usize) -> Result<Option<Self>, Failure> {
        options
            .check()
            .map_err(|why| Failure::because("the cluster cannot be formed", why))?;
        if !options.is_set() {
            return Ok(None);
        }
        let secret = match &options.secret_file {
            None => Vec::new(),
            Some(file) => {
                let read = std::fs::read_to_string(file);
                let read = read
                    .map_err(|why| Failure::because("INDEXER_SECRET_FILE cannot be read", why))?;
                if read.trim().is_empty() {
                    return Err(Failure::new("INDEXER_SECRET_FILE holds no secret"));
                }
                read.trim().as_bytes().to_vec()
            }
        };
        Ok(Some(Self {
            options: options.clone(),
            threads,
            secret,
            state: Arc::default(),
        }))
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.options.hosts.len()
    }

    /// Listens, calls, and waits until all processes are connected.
    ///
    /// # Errors
    /// The address cannot be had, or another process does not fit.
    pub async fn connect(&self) -> Result<Links, MeshError> {
        let hosts = self.options.hosts.iter().enumerate();
        let names = hosts.map(|(process, host)| Name {
            process,
            host: host.to_string(),
        });
        let names: Vec<_> = names.collect();
        let own = self.options.process as usize;
        let threads = self.threads as u32;
        let build = tokio::task::spawn_blocking(own_build).await;
        let build = build.map_err(std::io::Error::other).flatten();
        let build = build.map_err(MeshError::Build)?;
        let place = (self.options.process, names.len() as u32);
        let hello = Hello::new(build, place, threads);
        // Nobody calls the last one.
        let listener = match own + 1 < names.len() {
            true => Some(self.listen(&names[own].host).await?),
            false => None,
        };
        let others: Vec<_> = names.iter().filter(|it| it.process != own).collect();
        let others: Vec<_> = others.iter().map(ToString::to_string).collect();
        let others = others.join(", ");
        tracing::info!(
            process = own,
            others,
            "waiting for the other processes of the cluster"
        );
        let mesh = Mesh::new(names, Manners::new(hello, &self.secret));
        let links = mesh.connect(listener, &self.state).await?;
        tracing::info!(process = own, "all processes of the cluster are connected");
        Ok(links)
    }

    async fn listen(&self, host: &str) -> Result<TcpListener, MeshError> {
        let address = match &self.options.listen {
            Some(address) => address.to_string(),
            None => host.to_owned(),
        };
        let listener = TcpListener::bind(&address).await;
        listener.map_err(|source| MeshError::Listen { address, source })
    }
}
