//! Watches the process of a peer: its anonymous memory, and that it comes to an
//! end.

use std::{
    fs,
    process::exit,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::line::Line;

/// Anonymous memory of this process in bytes.
pub fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

pub struct Watch {
    peak: AtomicU64,
    phase: Mutex<(Instant, Line)>,
}

impl Watch {
    /// Looks every 20 ms, and ends the process if a phase takes longer than the
    /// limit: a peer that hangs must not stop the race.
    pub fn start(limit: Duration) -> Arc<Self> {
        let phase = Mutex::new((Instant::now(), Line::default()));
        let watch = Arc::new(Self { peak: AtomicU64::new(0), phase });
        let watching = Arc::clone(&watch);
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(20));
                watching.peak.fetch_max(anonymous(), Ordering::Relaxed);
                let phase = watching.phase.lock().unwrap_or_else(PoisonError::into_inner);
                if phase.0.elapsed() > limit {
                    let error = Some(format!("not done after {limit:?}"));
                    let line = Line { error, ..phase.1.clone() };
                    println!("{}", serde_json::to_string(&line).unwrap_or_default());
                    exit(1);
                }
            }
        });
        watch
    }

    /// A phase begins; the line is what to say if it does not end.
    pub fn begin(&self, line: Line) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), line);
        self.peak.store(anonymous(), Ordering::Relaxed);
    }

    /// The memory now, and its peak since the last reading or beginning.
    pub fn memory(&self) -> (u64, u64) {
        let now = anonymous();
        (now, self.peak.swap(now, Ordering::Relaxed).max(now))
    }
}
