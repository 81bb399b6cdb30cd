//! Writes samples in Prometheus' text format 0.0.4.

/// Writes the samples of one metric family.
pub struct Samples<'a> {
    out: &'a mut Vec<u8>,
    name: &'static str,
}

/// A set of labels in text form: escaped, and separated by commas.
#[derive(Debug, Default, Clone)]
pub struct Labels(Vec<u8>);

impl Labels {
    /// The labels in the given order; the text format requires none.
    pub fn new(pairs: &[(&str, &str)]) -> Self {
        let mut labels = Labels::default();
        for (name, value) in pairs {
            labels.push(name, value);
        }
        labels
    }

    /// Adds a label; the value is escaped.
    pub fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"=\"");
        escape_into(&mut self.0, value);
        self.0.push(b'"');
    }

    /// Removes the labels after this length in bytes, which [`Labels::len`] returned.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// The length of the text in bytes, for [`truncate`](Self::truncate).
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Samples<'a> {
    /// Samples of one family, appended to `out`.
    pub fn new(out: &'a mut Vec<u8>, name: &'static str) -> Self {
        Samples { out, name }
    }

    /// Writes one sample on a line of its own, without a timestamp.
    pub fn add(&mut self, labels: &Labels, value: i64) {
        self.line(labels, itoa::Buffer::new().format(value));
    }

    /// Writes one sample that is no whole number, in the shortest form that gives the value back.
    pub fn add_float(&mut self, labels: &Labels, value: f64) {
        self.line(labels, &value.to_string());
    }

    fn line(&mut self, labels: &Labels, value: &str) {
        self.out.extend_from_slice(self.name.as_bytes());
        if !labels.is_empty() {
            self.out.push(b'{');
            self.out.extend_from_slice(&labels.0);
            self.out.push(b'}');
        }
        self.out.push(b' ');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'\n');
    }
}

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down; the type of all metrics about AWS.
    Gauge,
    /// Counts from the start of the process.
    Counter,
}

/// `# HELP` and `# TYPE`.
pub fn header(name: &str, help: &str, kind: Kind) -> Vec<u8> {
    let kind = match kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
    };
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n").into_bytes()
}

/// Label values escape backslash, quotation mark and line feed, nothing else.
fn escape_into(out: &mut Vec<u8>, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_text_is_what_the_prometheus_crate_would_have_written(
            values in proptest::collection::btree_map(any::<String>(), -(1_i64 << 52)..(1_i64 << 52), 1..20),
            account in any::<String>(),
        ) {
            let gauge = IntGaugeVec::new(Opts::new("some_metric", "Some help."), &["account_id", "user_name"]).unwrap();
            let registry = Registry::new();
            registry.register(Box::new(gauge.clone())).unwrap();
            let mut ours = header("some_metric", "Some help.", Kind::Gauge);
            let mut samples = Samples::new(&mut ours, "some_metric");
            for (user, value) in &values {
                gauge.with_label_values(&[account.as_str(), user.as_str()]).set(*value);
                samples.add(&Labels::new(&[("account_id", &account), ("user_name", user)]), *value);
            }
            let mut theirs = Vec::new();
            TextEncoder::new().encode(&registry.gather(), &mut theirs).unwrap();
            prop_assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
        }
    }

    #[test]
    fn truncating_gives_the_shorter_set_back() {
        let mut labels = Labels::new(&[("a", "1")]);
        let len = labels.len();
        labels.push("b", "2");
        labels.truncate(len);
        let mut out = Vec::new();
        Samples::new(&mut out, "m").add(&labels, 1);
        assert_eq!(out, b"m{a=\"1\"} 1\n");
    }
}
