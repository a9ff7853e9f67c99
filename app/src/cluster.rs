//! A cluster: several processes that run one dataflow. This module connects them.
//!
//! ```text
//! options ─ check ─▶ listen ─▶ mesh: connect, accept, handshake ─▶ connections ─▶ dataflow
//! ```
//!
//! All processes are connected before process 0, the leader, requests the right to write the views.
//! So if two clusters use the same views, an incomplete cluster never holds that right, and a
//! waiting cluster can take over as fast as a single process.

mod handshake;
mod hello;
mod mesh;
mod state;

use std::sync::Arc;

use skytide_core::config::Cluster;
use skytide_core::view::ViewId;
use skytide_dataflow::{Links, Name};
use tokio::net::TcpListener;

pub use handshake::{HandshakeOptions, Refusal};
pub use hello::{Hello, own_build};
pub use mesh::{Mesh, MeshError};
pub use state::ClusterState;

use crate::failure::Failure;
use crate::secrets;

/// This process as a member of a cluster.
pub struct ClusterMember {
    options: Cluster,
    threads: usize,
    views: Vec<ViewId>,
    secret: Vec<u8>,
    /// Whether the other processes are connected.
    pub state: Arc<ClusterState>,
}

impl ClusterMember {
    /// Reads the options of a cluster whose processes compute a dataflow with the same options.
    /// Returns `None` if no cluster is configured.
    ///
    /// # Errors
    ///
    /// The options contradict each other, or the secret cannot be read.
    pub fn from_options(
        options: &Cluster,
        dataflow: &skytide_dataflow::Options,
    ) -> Result<Option<Self>, Failure> {
        options
            .check()
            .map_err(|why| Failure::because("cannot form the cluster", why))?;
        if !options.is_set() {
            return Ok(None);
        }
        let secret = match &options.secret_file {
            None => Vec::new(),
            Some(file) => {
                let secret = secrets::contents(file).map_err(|why| {
                    Failure::because("cannot use the file that INDEXER_SECRET_FILE names", why)
                })?;
                secret.into_bytes()
            }
        };
        Ok(Some(Self {
            options: options.clone(),
            threads: dataflow.workers,
            views: dataflow.views.clone(),
            secret,
            state: Arc::default(),
        }))
    }

    /// Number of processes in the cluster.
    pub fn processes(&self) -> usize {
        self.options.hosts.len()
    }

    /// Listens, connects to the other processes, and waits until all processes are connected.
    ///
    /// # Errors
    ///
    /// Cannot listen on the address, or another process is not compatible.
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
        let hello = Hello::new(build, self.options.process, names.len() as u32, threads);
        let hello = hello.with_views(&self.views);
        // No process connects to the last one.
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
        let mesh = Mesh::new(names, HandshakeOptions::new(hello, &self.secret));
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
