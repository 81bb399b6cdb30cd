//! Access to the series of an exposition.

#[derive(Debug, Clone)]
pub struct Metrics(String);

impl Metrics {
    pub fn new(text: String) -> Self {
        Metrics(text)
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.lines().filter(|l| !l.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
            (series, value.parse().expect("a value is a number"))
        })
    }

    /// The value of exactly this series: name and labels as they are written.
    pub fn value(&self, series: &str) -> Option<f64> {
        let mut found = self.samples().filter(|(s, _)| *s == series);
        let value = found.next()?.1;
        assert!(found.next().is_none(), "{series} is there twice");
        Some(value)
    }

    /// The sum over all series of a metric.
    pub fn sum(&self, name: &str) -> f64 {
        self.samples().filter(|(s, _)| s.split('{').next() == Some(name)).map(|(_, v)| v).sum()
    }

    /// All metrics about AWS, unchanged, for comparison of the whole inventory.
    pub fn inventory(&self) -> String {
        self.of("aws_iam_")
    }

    /// Lines of metrics with this beginning, their HELP and TYPE included.
    pub fn of(&self, prefix: &str) -> String {
        let is_of = |line: &&str| {
            let name = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")).unwrap_or(line);
            name.starts_with(prefix)
        };
        self.0.lines().filter(is_of).map(|l| format!("{l}\n")).collect()
    }

    pub fn without_help(&self) -> String {
        self.0.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect()
    }

    pub fn failures(&self, reason: &str) -> f64 {
        let of = |account| {
            let name = "iam_key_exporter_check_failures_total";
            self.value(&format!(r#"{name}{{account_id="{account}",reason="{reason}"}}"#)).unwrap_or(0.0)
        };
        of("unknown") + of("123456789012")
    }

    pub fn requests(&self, operation: &str) -> f64 {
        let service = if operation == "GetCallerIdentity" { "sts" } else { "iam" };
        let series = format!(r#"iam_key_exporter_aws_requests_total{{operation="{operation}",service="{service}"}}"#);
        self.value(&series).unwrap_or(0.0)
    }

    pub fn request_failures(&self, operation: &str, code: &str) -> f64 {
        let service = if operation == "GetCallerIdentity" { "sts" } else { "iam" };
        let name = "iam_key_exporter_aws_request_failures_total";
        self.value(&format!(r#"{name}{{code="{code}",operation="{operation}",service="{service}"}}"#)).unwrap_or(0.0)
    }
}
