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
        let names = family.get_label_names().to_vec();
        for sample in family.iter_samples() {
            let labels = names.iter().cloned().zip(sample.get_label_values().iter().cloned()).collect();
            let value = match &sample.value {
                PrometheusValue::Gauge(value) => value.as_f64(),
                other => panic!("{name} is {other:?}"),
            };
            assert!(samples.insert((name.clone(), labels), value).is_none());
        }
    }
    samples
}
