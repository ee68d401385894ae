//! A metric's rows, bounded in number, and how they are written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tidegate_snapshot::series::LATENCY_BOUNDS;

use super::names::{Kind, Metric};

/// Label sets of one metric; what is beyond is summed up under [`OTHER`]. Names come from the
/// configuration, and a monitoring system pays for each.
pub(super) const SETS_MAX: usize = 1_000;

/// The first label of what had no place of its own.
pub(super) const OTHER: &str = "other";

/// What a row says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A count or a whole number.
    Whole(u64),
    /// Seconds, mostly.
    Real(f64),
    /// Observations per bucket of [`LATENCY_BOUNDS`] (not cumulated) and their sum in seconds.
    Latency {
        /// The last bucket has no bound.
        counts: [u64; 18],
        /// Seconds.
        sum: f64,
    },
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl Value {
    /// Both together. All rows of a metric have one form.
    pub(super) fn plus(self, more: &Self) -> Self {
        match (self, more) {
            (Self::Whole(one), Self::Whole(two)) => Self::Whole(one.saturating_add(*two)),
            (Self::Real(one), Self::Real(two)) => Self::Real(one + two),
            (Self::Latency { mut counts, sum }, Self::Latency { counts: more, sum: more_sum }) => {
                for (count, more) in counts.iter_mut().zip(more) {
                    *count += more;
                }
                Self::Latency { counts, sum: sum + more_sum }
            }
            (unlike, _) => unlike,
        }
    }
}

/// One label set and its value. Which labels it has, the metric says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row<'n> {
    first: Option<Cow<'n, str>>,
    second: Option<&'static str>,
    value: Value,
}

impl<'n> Row<'n> {
    /// The only row of a metric without labels.
    pub(super) fn alone(value: impl Into<Value>) -> Self {
        Self { first: None, second: None, value: value.into() }
    }

    /// A row with one label.
    pub(super) fn of(name: &'n str, value: impl Into<Value>) -> Self {
        Self { first: Some(Cow::Borrowed(name)), second: None, value: value.into() }
    }

    /// A row with one label that is a number.
    pub(super) fn numbered(number: usize, value: Value) -> Self {
        Self { first: Some(Cow::Owned(number.to_string())), second: None, value }
    }

    /// A row with two labels.
    pub(super) fn of_both(name: &'n str, second: &'static str, value: impl Into<Value>) -> Self {
        Self { first: Some(Cow::Borrowed(name)), second: Some(second), value: value.into() }
    }
}

/// Writes a metric: what it is, then its rows. One without rows is left out.
pub(super) fn put<'n>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    rows: impl IntoIterator<Item = Row<'n>>,
) -> fmt::Result {
    let rows = bounded(rows.into_iter().collect());
    if rows.is_empty() {
        return Ok(());
    }
    let (kind, name) = match metric.kind {
        // The encoder adds the suffix again.
        Kind::Counter => (MetricType::Counter, metric.name.trim_end_matches("_total")),
        Kind::Gauge => (MetricType::Gauge, metric.name),
        Kind::Histogram => (MetricType::Histogram, metric.name),
    };
    let mut encoder = encoder.encode_descriptor(name, metric.help, None, kind)?;
    for row in &rows {
        let values = row.first.as_deref().into_iter().chain(row.second);
        let labels: Vec<(&str, &str)> = metric.labels.iter().copied().zip(values).collect();
        if labels.is_empty() {
            write(&mut encoder, metric.kind, &row.value)?;
        } else {
            write(&mut encoder.encode_family(&labels)?, metric.kind, &row.value)?;
        }
    }
    Ok(())
}

fn write(encoder: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(count)) => {
            encoder.encode_counter::<NoLabelSet, u64, f64>(count, None)
        }
        (Kind::Counter, Value::Real(count)) => {
            encoder.encode_counter::<NoLabelSet, f64, f64>(count, None)
        }
        (Kind::Gauge, Value::Whole(number)) => encoder.encode_gauge(number),
        (Kind::Gauge, Value::Real(number)) => encoder.encode_gauge(number),
        (_, Value::Latency { counts, sum }) => {
            let bounds = LATENCY_BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
            encoder.encode_histogram::<NoLabelSet>(*sum, counts.iter().sum(), &buckets, None)
        }
        // A histogram of plain numbers: there is none, and saying so fails the page's test.
        (Kind::Histogram, _) => Err(fmt::Error),
    }
}

/// At most [`SETS_MAX`] rows: the first ones as they are, the rest summed up under [`OTHER`], one
/// row for each second label. Rows of one name stay together.
fn bounded(mut rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    if rows.len() <= SETS_MAX {
        return rows;
    }
    let seconds: std::collections::BTreeSet<_> = rows.iter().map(|row| row.second).collect();
    // A name that is called so itself goes with the rest: no label set may stand there twice.
    let is_other = |row: &Row<'_>| row.first.as_deref() == Some(OTHER);
    rows.sort_by_key(is_other);
    let mut kept = SETS_MAX.saturating_sub(seconds.len());
    kept = kept.min(rows.iter().take_while(|row| !is_other(row)).count());
    while kept > 0 && rows.get(kept - 1).map(|r| &r.first) == rows.get(kept).map(|r| &r.first) {
        kept -= 1;
    }
    let mut others: BTreeMap<Option<&'static str>, Value> = BTreeMap::new();
    for row in rows.drain(kept..) {
        let total = match others.remove(&row.second) {
            Some(total) => total.plus(&row.value),
            None => row.value,
        };
        others.insert(row.second, total);
    }
    rows.extend(others.into_iter().map(|(second, value)| Row {
        first: Some(Cow::Borrowed(OTHER)),
        second,
        value,
    }));
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(rows: &[Row<'_>], second: Option<&str>) -> u64 {
        let values = rows.iter().filter(|row| row.second == second).map(|row| match row.value {
            Value::Whole(value) => value,
            _ => 0,
        });
        values.sum()
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let names: Vec<String> = (0..SETS_MAX).map(|n| n.to_string()).collect();
        let rows: Vec<_> = names.iter().map(|name| Row::of(name, 1_u64)).collect();
        assert_eq!(bounded(rows.clone()), rows);
    }

    #[test]
    fn what_does_not_fit_is_summed_under_other() {
        let names: Vec<String> = (0..=SETS_MAX).map(|n| n.to_string()).collect();
        let rows: Vec<_> = names.iter().map(|name| Row::of(name, 1_u64)).collect();
        let rows = bounded(rows);
        assert_eq!(rows.len(), SETS_MAX);
        assert_eq!(rows.last(), Some(&Row::of(OTHER, 2_u64)));
    }

    #[test]
    fn latencies_add_up_bucket_by_bucket() {
        let one = |at: usize, sum| {
            let mut counts = [0; 18];
            counts[at] = 1;
            Value::Latency { counts, sum }
        };
        let Value::Latency { counts, sum } = one(0, 0.5).plus(&one(17, 400.0)) else {
            panic!("a latency stays one")
        };
        assert_eq!((counts[0], counts[17], counts.iter().sum::<u64>()), (1, 1, 2));
        assert!((sum - 400.5).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn any_number_of_names_stays_bounded_unique_and_complete(
            count in 0_usize..700,
            other_at in proptest::option::of(0_usize..700),
        ) {
            let names: Vec<String> = (0..count)
                .map(|n| if other_at == Some(n) { OTHER.to_owned() } else { n.to_string() })
                .collect();
            let rows: Vec<_> = names
                .iter()
                .flat_map(|name| [Row::of_both(name, "in", 1_u64), Row::of_both(name, "out", 2_u64)])
                .collect();
            let rows = bounded(rows);
            prop_assert!(rows.len() <= SETS_MAX);
            prop_assert_eq!(total(&rows, Some("in")), count as u64);
            prop_assert_eq!(total(&rows, Some("out")), 2 * count as u64);
            let mut sets: Vec<_> = rows.iter().map(|row| (&row.first, row.second)).collect();
            sets.sort();
            let before = sets.len();
            sets.dedup();
            prop_assert_eq!(sets.len(), before, "a label set stands there twice");
            for pair in rows.chunks(2) {
                prop_assert_eq!(&pair[0].first, &pair[1].first, "a name was torn apart");
            }
        }
    }
}
