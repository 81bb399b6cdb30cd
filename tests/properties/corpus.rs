//! Every file of the corpora. A test that a corpus exists for every property and every fuzz target, and nothing else.

use crate::properties::ALL;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn fuzz(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(path)
}

/// The names of the files in a directory, without their extension.
fn names(path: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz(path)).unwrap_or_else(|e| panic!("fuzz/{path}: {e}"));
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_file_of_the_corpora_has_its_property() {
    for (name, holds) in ALL {
        let mut files = 0;
        for entry in fs::read_dir(fuzz("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            holds(&fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files >= 5, "fuzz/corpus/{name} has {files} files");
    }
}

#[test]
fn every_property_has_a_target_and_a_corpus() {
    let properties: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), properties);
    assert_eq!(names("corpus"), properties);
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).unwrap();
    let targets =
        manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""));
    assert_eq!(targets.map(str::to_owned).collect::<BTreeSet<_>>(), properties);
}
