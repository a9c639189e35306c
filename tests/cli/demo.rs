//! The command `demo`.

use crate::fixture::{Dir, sample};

#[test]
fn the_demo_runs_on_the_sample() {
    let dir = Dir::new();
    let sample = sample();
    let facts = dir.json(&format!("demo --data {} --store @s", sample.display()));
    let step = |name: &str| facts.iter().find(|fact| fact["step"] == name).unwrap();
    assert!(step("kill 1")["acked_nodes"].as_u64().unwrap() < 9_617);
    let edges = step("kill 2")["acked_edges"].as_u64().unwrap();
    assert!((13_461..26_922).contains(&edges), "{edges}");
    assert_eq!(step("finish")["found_edges"], 26_922);
    assert_eq!(step("nearest")["result"].as_array().unwrap().len(), 5);
    assert_eq!(step("get")["of"], "02084071-n");
    // The store that was asked for stays, and is not used twice.
    assert_eq!(dir.stats("s")["nodes"], 9_617);
    assert!(
        dir.fails(&format!("demo --data {} --store @s", sample.display())).contains("not empty")
    );
    assert!(dir.fails("demo --data @nowhere").contains("--data"));
}
