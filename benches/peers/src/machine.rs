//! What the machine can do, measured beside the peers in the same run.

use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    line::{Line, histogram},
    phases::{Plan, say},
};

/// Blocks that are written before they are written again.
const WRITTEN: u64 = 256 << 20;
const SEQUENTIAL: u64 = 512 << 20;

pub fn run(plan: &Plan) -> Result<()> {
    let time = plan.time();
    for (name, size) in [("append_300", 300), ("append_64k", 64 << 10)] {
        for written in [false, true] {
            let phase = format!("{name}_{}", if written { "written" } else { "growing" });
            append(plan, &phase, size, written, time)?;
        }
    }
    sequential(plan)?;
    copy(plan)
}

/// Appends and fdatasyncs, into a file that grows or into blocks that were
/// written before.
fn append(plan: &Plan, phase: &str, size: usize, written: bool, time: Duration) -> Result<()> {
    let path = plan.dir.join(phase);
    let file = File::create_new(&path)?;
    if written {
        for at in (0..WRITTEN).step_by(1 << 20) {
            file.write_all_at(&[0xff; 1 << 20], at)?;
        }
        file.sync_all()?;
    }
    let (bytes, mut took, mut at) = (vec![1; size], histogram(), 0);
    let start = Instant::now();
    let mut last = start;
    while last - start < time {
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        at += size as u64;
        if written && at + size as u64 > WRITTEN {
            at = 0;
        }
        let now = Instant::now();
        took.saturating_record((now - last).as_nanos() as u64);
        last = now;
    }
    let line = plan.line(phase, 1).rate(took.len(), (last - start).as_secs_f64()).latency(&took);
    std::fs::remove_file(path)?;
    say(&line)
}

fn sequential(plan: &Plan) -> Result<()> {
    let path = plan.dir.join("sequential");
    let file = File::create_new(&path)?;
    let bytes = vec![1; 1 << 20];
    let start = Instant::now();
    for at in (0..SEQUENTIAL).step_by(bytes.len()) {
        file.write_all_at(&bytes, at)?;
    }
    file.sync_data()?;
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    let line = plan.line("write_and_sync", 1).rate(SEQUENTIAL >> 20, seconds);
    say(&Line { bytes_per_second: Some(SEQUENTIAL as f64 / seconds), ..line })
}

fn copy(plan: &Plan) -> Result<()> {
    let (from, mut to) = (vec![1_u8; 64 << 20], vec![0_u8; 64 << 20]);
    let (start, mut ops) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(1) {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        ops += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let bytes_per_second = Some((ops * from.len() as u64) as f64 / seconds);
    say(&Line { bytes_per_second, ..plan.line("memcpy", 1).rate(ops, seconds) })
}
