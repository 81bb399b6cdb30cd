//! The settings by which another process reaches a running exporter.

use super::file::options;
use super::settings::WebSection;
use super::{DEMO, Given, MAX_FILE_BYTES, Settings};
use crate::files::{self, Bounds};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// A health check does not wait longer.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The file as far as this module needs it: what else it contains may be wrong.
#[derive(Deserialize, Default)]
#[serde(default)]
struct WebOfFile {
    web: Option<WebSection>,
}

impl Given {
    /// The section `web`, with flags, variables and file as for `serve`. A file that cannot be read or parsed is ignored:
    /// it can have changed since the exporter started, which keeps running with what it has read before.
    ///
    /// Blocks as long as reading the file does, for two seconds at most.
    pub fn web_of_running(&self) -> WebSection {
        let text = match &self.config_file {
            Some(path) => read(path).unwrap_or_default(),
            None if self.demo => DEMO.to_owned(),
            None => String::new(),
        };
        let file: WebOfFile = serde_saphyr::from_str_with_options(&text, options()).unwrap_or_default();
        let mut settings = Settings { web: file.web.unwrap_or_default(), ..Settings::default() };
        // Flags and variables were checked one by one.
        let _ = self.apply(&mut settings);
        settings.web
    }
}

fn read(path: &Path) -> Option<String> {
    String::from_utf8(files::read(path, Bounds::within(MAX_FILE_BYTES, READ_TIMEOUT)).ok()?.bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn web(text: &str) -> WebSection {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Given { config_file: Some(file.path().to_owned()), ..Given::default() }.web_of_running()
    }

    #[test]
    fn errors_elsewhere_in_the_file_do_not_matter() {
        let web_of = |text| web(text).listen_address.0[0].to_string();
        assert_eq!(web_of("web: {listen_address: ':1'}\n"), ":1");
        assert_eq!(web_of("policy: {nonsense: 1}\nweb: {listen_address: ':2'}\nexemptions: 7\n"), ":2");
        assert_eq!(web_of("web: {listen_address: nowhere}\n"), ":19674");
        assert_eq!(web_of("web: ["), ":19674");
        assert_eq!(web_of(""), ":19674");
        let missing = Given { config_file: Some("/nowhere/config.yaml".into()), ..Given::default() };
        assert_eq!(missing.web_of_running(), WebSection::default());
    }
}
