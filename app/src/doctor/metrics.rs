//! Reads values from the metrics in a flight record.

use crate::flight::client::FlightRecord;

/// The metrics of a process at one time, in the OpenMetrics text format.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Metrics {
    /// The newest metrics of a process that has a dataflow, if it reported any.
    pub fn newest_of(record: &FlightRecord) -> Option<Self> {
        let newest = record.samples("metrics").last().copied()?;
        let metrics = Self(String::from_utf8_lossy(&newest.content).into_owned());
        metrics.value("indexer_live_records").map(|_| metrics)
    }

    /// All metrics of a record, oldest first.
    pub fn all_of(record: &FlightRecord) -> Vec<(String, Self)> {
        let samples = record.samples("metrics").into_iter();
        let metrics = samples.map(|entry| {
            let text = String::from_utf8_lossy(&entry.content).into_owned();
            (entry.path.clone(), Self(text))
        });
        metrics.collect()
    }

    /// The value of a metric without labels.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(' ')?;
            value.trim().parse().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let text = "# TYPE a gauge\na_b 1\na 2.5\na{x=\"y\"} 3\n";
        assert_eq!(Metrics(text.to_owned()).value("a"), Some(2.5));
        assert_eq!(Metrics(text.to_owned()).value("b"), None);
    }
}
