//! Runs this test binary as a child process, with a scenario given in
//! `SCENARIO`: as a user without privileges, or under resource limits.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::{exhaustion, files, permissions};

/// Tells this test binary that it is a child, and which.
const SCENARIO: &str = "INGRAIN_HOSTILE_SCENARIO";
const STORE: &str = "INGRAIN_HOSTILE_STORE";

/// What children do. Each ends by saying so, or as its test expects.
const SCENARIOS: &[(&str, fn(&Path))] = &[
    ("without permission", permissions::without_permission),
    ("read only", permissions::read_only),
    ("becoming read only", permissions::becoming_read_only),
    ("full disk", exhaustion::full_disk),
    ("nothing may be written", exhaustion::nothing_may_be_written),
    ("no descriptors", exhaustion::no_descriptors),
    ("cut short while mapped", files::cut_short_while_mapped),
];

/// Not a test by itself: the body of the children.
#[test]
fn child_in_hostile_surroundings() {
    let Ok(asked) = std::env::var(SCENARIO) else { return };
    let store = PathBuf::from(std::env::var_os(STORE).unwrap());
    let (name, scenario) = SCENARIOS.iter().find(|(name, _)| *name == asked).unwrap();
    scenario(&store);
    println!("\ndone: {name}");
}

/// Runs a scenario in a process of its own, under limits that are set by a
/// shell.
pub(super) fn run(scenario: &str, store: &Path, limits: &str) -> Output {
    let mut command = Command::new("sh");
    let exec = format!("{limits}; exec \"$0\" \"$@\"");
    command.args([OsStr::new("-c"), OsStr::new(&exec)]).arg(std::env::current_exe().unwrap());
    run_command(command, scenario, store)
}

/// Runs a scenario as a user whom permissions bind, who owns `dir`.
pub(super) fn run_without_rights(scenario: &str, dir: &Path, store: &Path) {
    const NOBODY: u32 = 65_534;
    // By this name it is found even where the user cannot look at its directory.
    let itself = Path::new("/proc/self/exe");
    let exe = if itself.exists() { itself.to_owned() } else { std::env::current_exe().unwrap() };
    let mut command = Command::new(exe);
    // Whose the new directory is, this process is.
    if fs::metadata(dir).unwrap().uid() == 0 {
        std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    assert_done(scenario, &run_command(command, scenario, store));
}

fn run_command(mut command: Command, scenario: &str, store: &Path) -> Output {
    let child = "hostile::child::child_in_hostile_surroundings";
    command
        .args(["--exact", child, "--nocapture", "--test-threads=1"])
        .env(SCENARIO, scenario)
        .env(STORE, store)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(super) fn assert_done(scenario: &str, output: &Output) {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let done = out.contains(&format!("\ndone: {scenario}\n")) && output.status.success();
    assert!(done, "{}\n{out}\n{err}", output.status);
}

/// The number that a child printed after a word.
pub(super) fn told(output: &Output, word: &str) -> u64 {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = out.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
    numbers.next_back().unwrap_or_else(|| panic!("{word} is not told: {out}"))
}
