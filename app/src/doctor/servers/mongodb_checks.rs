//! Checks of the views on MongoDB: versions, the primary, free disk, and permissions.

use std::time::Duration;

use skytide_core::config::{Config, Mongo, Span, WriteConcern};
use skytide_mongodb::{Connection, Inspection, inspect, server_time, try_to_write};
use tokio::time::timeout;

use crate::cli::doctor::Service;
use crate::doctor::clock::{ClockQuestion, ClockReading};
use crate::doctor::finding::{Finding, bytes};
use crate::failure::chain;

const CHECK: &str = "mongodb";
/// With less free disk than this the server soon refuses writes, in bytes.
const FREE_BYTES_MIN: u64 = 2 << 30;

/// Checks the server within `time_max`. Its operations take at most half of that, so that a finding
/// says which one took too long. Then tries to write, within at most one and a half times `time_max`:
/// that is never cut short by what came before, so it can remove what it wrote.
pub async fn check(
    config: &Config,
    service: Service,
    time_max: Duration,
    clocks: &mut Vec<ClockReading>,
) -> Vec<Finding> {
    let mut options = config.mongo.clone();
    options.operation_max = Span(options.operation_max.0.min(time_max / 2));
    let asked = timeout(time_max, ask(&options, clocks)).await;
    let (connection, mut findings) = match asked {
        Ok(Ok(answered)) => answered,
        Ok(Err(finding)) => return vec![finding],
        Err(_) => {
            let found = format!("no answer within {} s", time_max.as_secs());
            let fix = "check that the server answers; --timeout allows more time";
            return vec![Finding::problem(CHECK, found, fix)];
        }
    };
    if service != Service::Serve {
        let database = options.database.as_str();
        findings.push(match try_to_write(&connection).await {
            Ok(()) => {
                let found = format!("may create collections and indexes and write in {database}");
                Finding::ok(CHECK, found)
            }
            Err(why) => {
                let fix = format!(
                    "give the user the role readWrite on {database}; check the disk of the server, \
                     and that a majority of its replica set is reachable"
                );
                Finding::problem(CHECK, chain(&why), fix)
            }
        });
    }
    findings
}

/// Connects, and asks the server what it is. An error says why that is not possible.
async fn ask(
    options: &Mongo,
    clocks: &mut Vec<ClockReading>,
) -> Result<(Connection, Vec<Finding>), Finding> {
    let connection = Connection::open(options).await.map_err(|why| {
        let fix = "check MONGODB_URI, that the server runs, its version, and user and password";
        Finding::problem(CHECK, chain(&why), fix)
    })?;
    let question = ClockQuestion::start();
    if let Ok(time) = server_time(&connection).await {
        clocks.push(question.end("MongoDB", time, Duration::from_millis(1)));
    }
    let findings = match inspect(&connection).await {
        Ok(inspection) => server(&inspection, &connection, options.write_concern),
        Err(why) => {
            let fix = "give the user the role readWrite on the database";
            vec![Finding::problem(CHECK, chain(&why), fix)]
        }
    };
    Ok((connection, findings))
}

fn server(inspection: &Inspection, connection: &Connection, concern: WriteConcern) -> Vec<Finding> {
    let Inspection {
        version, members, ..
    } = inspection;
    let set = match &inspection.replica_set {
        Some(name) => format!("replica set {name} of {members}"),
        None => "a single server".to_owned(),
    };
    let found = format!("MongoDB {version}, {set}");
    let mut findings = Vec::new();
    if inspection.replica_set.is_some() && !inspection.is_primary {
        let fix = "check the replica set (rs.status()), and name all its members in MONGODB_URI";
        let found = format!("{found}, without a primary");
        findings.push(Finding::problem(CHECK, found, fix));
    } else if concern == WriteConcern::One && *members > 1 {
        let found = format!("{found}; MONGODB_WRITE_CONCERN is 1, so a failover can lose rows");
        let fix = "set MONGODB_WRITE_CONCERN to majority";
        findings.push(Finding::warning(CHECK, found, fix));
    } else if !connection.supports_snapshots() {
        let found = format!("{found}: exports need a pause of index");
        findings.push(Finding::ok(CHECK, found));
    } else {
        findings.push(Finding::ok(CHECK, found));
    }
    let size = bytes(inspection.database_bytes);
    if let Some((free, _)) = inspection.disk {
        let found = format!(
            "{} free on the disk of MongoDB, the database has {size}",
            bytes(free)
        );
        findings.push(match free < FREE_BYTES_MIN {
            true => Finding::warning(CHECK, found, "free some space on the disk of MongoDB"),
            false => Finding::ok(CHECK, found),
        });
    }
    findings
}
