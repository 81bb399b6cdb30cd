#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| iam_key_exporter_fuzz::properties::web_configuration::holds(data));
