#![no_main]

use iam_key_exporter_fuzz::properties::exposition::pages;
use iam_key_exporter_fuzz::properties::text_format::{Samples, read};
use openmetrics_parser::{PrometheusValue, prometheus::parse_prometheus};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for page in pages(data) {
        // The parser takes a carriage return for the end of a line, and wants all samples of a family to have the same
        // labels; Prometheus does neither.
        let text: String = same_labels(&page);
        if !text.contains('\r') && !text.is_empty() {
            assert_eq!(read_by_others(&text), read(&text), "{text}");
        }
    }
});

/// The page without the families whose labels differ from user to user.
fn same_labels(page: &str) -> String {
    let of = |line: &&str| {
        let family = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        !family.starts_with("aws_iam_user_info")
    };
    page.split_inclusive('\n').filter(of).collect()
}

fn read_by_others(text: &str) -> Samples {
    let exposition = parse_prometheus(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut samples = Samples::new();
    for (name, family) in exposition.families {
        for sample in family.iter_samples() {
            let labels = sample.get_labelset().expect("a sample of a family has labels");
            let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            let value = match &sample.value {
                PrometheusValue::Gauge(value) => value.as_f64(),
                other => panic!("{name} is {other:?}"),
            };
            assert!(samples.insert((name.clone(), labels), value).is_none());
        }
    }
    samples
}
