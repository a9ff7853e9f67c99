//! Options of a dataflow over several processes.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::address::{split_host_port, trimmed};
use super::{ListenAddress, ValueError, between};

/// Maximum number of processes.
const PROCESSES_MAX: u32 = 256;

/// How several processes of `index`, usually on several machines, form one dataflow
/// (`docs/cluster.md`).
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster (dataflow over several machines)")]
pub struct Cluster {
    /// Addresses of the processes that form the dataflow, for example
    /// `10.0.0.1:7600,10.0.0.2:7600`; the same list for all processes. The first process is the
    /// leader: only it accesses log, views and checkpoints. All processes need the same number of
    /// threads (`INDEXER_WORKERS`). If unset, the dataflow runs in one process. Traffic between the
    /// processes is not encrypted.
    #[arg(id = "INDEXER_HOSTS", long = "indexer-hosts", env = "INDEXER_HOSTS")]
    #[arg(value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub hosts: Vec<HostPort>,

    /// The index of this process in `INDEXER_HOSTS`, starting at 0. A process that is not the
    /// leader needs no log, no views and no folder.
    #[arg(
        id = "INDEXER_PROCESS",
        long = "indexer-process",
        env = "INDEXER_PROCESS"
    )]
    #[arg(value_name = "NUMBER", default_value_t = 0, value_parser = between(0..=PROCESSES_MAX - 1))]
    pub process: u32,

    /// Address and port on which this process listens for the others, if it differs from the entry
    /// in `INDEXER_HOSTS`, as in a container: `0.0.0.0:7600`.
    #[arg(id = "INDEXER_LISTEN", long = "indexer-listen", env = "INDEXER_LISTEN")]
    #[arg(value_name = "ADDRESS:PORT")]
    pub listen: Option<ListenAddress>,

    /// A file with a secret by which the processes authenticate to each other; `openssl rand -hex
    /// 32` makes one. Required unless all addresses in `INDEXER_HOSTS` and `INDEXER_LISTEN` are
    /// loopback addresses. Traffic between the processes is not encrypted.
    #[arg(
        id = "INDEXER_SECRET_FILE",
        long = "indexer-secret-file",
        env = "INDEXER_SECRET_FILE"
    )]
    #[arg(value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

impl Cluster {
    /// Whether the dataflow runs in several processes.
    pub fn is_set(&self) -> bool {
        self.hosts.len() > 1
    }

    /// Whether this process is a follower, whose workers compute for the leader.
    pub fn follows(&self) -> bool {
        self.process > 0
    }

    /// Checks that the options are consistent with each other.
    ///
    /// # Errors
    /// The options do not describe a cluster, or a secret is required and not set.
    pub fn check(&self) -> Result<(), ValueError> {
        let rejected = |why: String| Err(ValueError(why));
        let (hosts, process) = (&self.hosts, self.process);
        let processes = hosts.len();
        if processes == 0 && process > 0 {
            return rejected(format!(
                "INDEXER_PROCESS is {process}, but INDEXER_HOSTS is not set"
            ));
        }
        if processes > PROCESSES_MAX as usize {
            return rejected(format!(
                "INDEXER_HOSTS has {processes} processes; at most {PROCESSES_MAX} are allowed"
            ));
        }
        let mut named = hosts.iter().enumerate();
        let twice = named.find(|(index, host)| hosts[..*index].contains(host));
        if let Some((_, host)) = twice {
            return rejected(format!("INDEXER_HOSTS names {host} twice"));
        }
        if processes > 0 && process as usize >= processes {
            return rejected(format!(
                "INDEXER_PROCESS is {process}, but INDEXER_HOSTS has the processes 0 to {}",
                processes - 1
            ));
        }
        self.check_secret()
    }

    /// Requires a secret if other machines can connect. Without a secret, anyone who can reach the
    /// port of a process could join the dataflow and change the results.
    fn check_secret(&self) -> Result<(), ValueError> {
        if !self.is_set() || self.secret_file.is_some() {
            return Ok(());
        }
        let named = self.hosts.iter().find(|host| !host.is_loopback());
        let named = named.map(|host| format!("INDEXER_HOSTS names {host}"));
        let listen = self.listen.as_ref().filter(|it| !it.is_loopback());
        let listen = listen.map(|address| format!("INDEXER_LISTEN is {address}"));
        match named.or(listen) {
            None => Ok(()),
            Some(what) => Err(ValueError(format!(
                "{what}, which others can reach, and INDEXER_SECRET_FILE is not set: create a \
                 secret (openssl rand -hex 32) and give every process the same file"
            ))),
        }
    }
}

/// Whether the address is a loopback address, also if it is an IPv4 address in IPv6 form.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Host name or IP address, and port: `index-1:7600`, `10.0.0.1:7600`, `[fd00::1]:7600`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort(String);

impl HostPort {
    /// The text, ready for address resolution.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only this machine can connect. Among host names, this is certain only for
    /// `localhost` and its subdomains (RFC 6761, 6.3).
    pub fn is_loopback(&self) -> bool {
        let host = self.0.rsplit_once(':').map_or("", |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse() {
            Ok(address) => is_loopback(address),
            Err(_) => bare == "localhost" || bare.ends_with(".localhost"),
        }
    }
}

impl FromStr for HostPort {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (host, port) = split_host_port(trimmed(text), "10.0.0.1:7600")?;
        let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
            ValueError(format!(
                "{port:?} is not a port: it must be a number from 1 to 65535"
            ))
        })?;
        let host = host.to_ascii_lowercase();
        Ok(Self(match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hosts: &str, process: u32, expected: Result<(), &str>) {
        let hosts = hosts.split(',').filter(|it| !it.is_empty());
        let cluster = Cluster {
            hosts: hosts.map(|it| it.parse().expect("a host")).collect(),
            process,
            secret_file: Some("secret".into()),
            ..Cluster::default()
        };
        let found = cluster.check().map_err(|why| why.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn the_index_of_a_process_must_be_within_the_list_of_hosts() {
        check("", 0, Ok(()));
        check("a:1", 0, Ok(()));
        check("a:1,b:1,a:2", 2, Ok(()));
        check(
            "",
            1,
            Err("INDEXER_PROCESS is 1, but INDEXER_HOSTS is not set"),
        );
        check("a:1,b:1,A:1", 0, Err("INDEXER_HOSTS names a:1 twice"));
        check(
            "a:1,b:1",
            2,
            Err("INDEXER_PROCESS is 2, but INDEXER_HOSTS has the processes 0 to 1"),
        );
    }

    #[test]
    fn a_cluster_that_other_machines_can_reach_requires_a_secret() {
        let rejection = |hosts: &str, listen: Option<&str>| {
            let cluster = Cluster {
                hosts: hosts.split(',').map(|it| it.parse().unwrap()).collect(),
                listen: listen.map(|it| it.parse().unwrap()),
                ..Cluster::default()
            };
            cluster.check().err().map(|why| why.to_string())
        };
        for hosts in [
            "127.0.0.1:1,127.0.0.2:1",
            "localhost:1,LOCALHOST:2",
            "[::1]:1,[::ffff:127.0.0.1]:1",
            "10.0.0.1:1",
        ] {
            assert_eq!(rejection(hosts, None), None, "{hosts}");
            assert_eq!(rejection(hosts, Some("127.0.0.1:7")), None, "{hosts}");
        }
        for (hosts, listen, named) in [
            ("127.0.0.1:1,10.0.0.2:1", None, "10.0.0.2:1"),
            ("index-1:1,index-2:1", None, "index-1:1"),
            ("[::1]:1,[fd00::1]:1", None, "[fd00::1]:1"),
            (
                "localhost.example:1,localhost:1",
                None,
                "localhost.example:1",
            ),
            ("localhost:1,localhost:2", Some("0.0.0.0:1"), "0.0.0.0:1"),
            ("localhost:1,localhost:2", Some("[::]:1"), "[::]:1"),
        ] {
            let why = rejection(hosts, listen).expect(hosts);
            assert!(
                why.contains(named) && why.contains("INDEXER_SECRET_FILE"),
                "{why}"
            );
        }
    }

    #[test]
    fn a_host_has_a_name_or_an_address_and_a_port() {
        for text in ["index-1.lan:7600", "10.0.0.1:1", "[fd00::1]:65535"] {
            let host: HostPort = text.parse().expect(text);
            assert_eq!(host.to_string(), text);
        }
        for text in [
            "host",
            ":7600",
            "host:0",
            "host:65536",
            "fd00::1:7600",
            "[::1:7",
            "a b:7",
            "http://a:7",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }
}
