//! Runs the fuzz targets on the initial inputs and on the inputs that fuzzing
//! found.

#[cfg(feature = "sim")]
use std::collections::BTreeSet;
use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::harness::TARGETS;

fn inputs() -> PathBuf {
    Path::new(crate::REPOSITORY).join("tests/fuzzed")
}

/// A failure names the file: `cargo test fuzzed` tries it again.
#[test]
fn fuzzed_inputs_hold_their_properties() {
    for (name, target) in TARGETS {
        let mut tried = 0;
        for entry in fs::read_dir(inputs().join(name)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                panic!("{}", path.display());
            }
            tried += 1;
        }
        assert!(tried > 0, "{name} has no inputs");
    }
}

/// Seeds follow from the golden files: `INGRAIN_GOLDEN=write cargo test
/// --all-features golden` makes both again.
#[cfg(feature = "sim")]
#[test]
fn golden_seeds_are_what_the_golden_files_give() {
    let write = std::env::var_os("INGRAIN_GOLDEN").is_some_and(|value| value == "write");
    for (target, name, bytes) in crate::harness::seeds::all() {
        let path = inputs().join(target).join(format!("seed-{name}"));
        if write {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).is_ok_and(|there| there == bytes), "{}", path.display());
    }
}

/// Each target has a program in `fuzz/`, and each program a target.
#[cfg(feature = "sim")]
#[test]
fn every_target_can_be_fuzzed() {
    let Ok(programs) = fs::read_dir(Path::new(crate::REPOSITORY).join("fuzz/fuzz_targets")) else {
        return; // The package has none.
    };
    // Targets of formats that this build does not have.
    let left_out =
        |name: &String| !cfg!(feature = "exchange") && matches!(&**name, "npy" | "import_line");
    let programs: BTreeSet<String> = programs
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !left_out(name))
        .collect();
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(programs, targets);
}
