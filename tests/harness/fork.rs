//! Forked processes.

use std::{
    io,
    os::unix::process::CommandExt,
    process::Command,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// The first error number of a failed step: no operating system uses it.
const STEP: i32 = 4_000;

/// Runs `child` in a process forked from this one. The child has only the thread
/// that forked, so it must not wait for anything that another thread holds, such
/// as standard output. It returns the number of the step that failed, if any.
pub fn in_fork(child: impl Fn() -> Result<(), u8> + Send + Sync + 'static) -> Result<(), u8> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut command = Command::new("true");
        let work =
            move || child().map_err(|step| io::Error::from_raw_os_error(STEP + i32::from(step)));
        #[allow(unsafe_code, reason = "this is how to fork without a library")]
        // SAFETY: the closure runs in the child between fork and exec. It is safe
        // code that uses only memory of its own and what an engine may be asked
        // there.
        let spawned = unsafe { command.pre_exec(work) }.spawn();
        let ended = spawned.and_then(|mut child| child.wait());
        let _ = send.send(ended.map(|status| assert!(status.success())));
    });
    match receive.recv_timeout(Duration::from_secs(60)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            match error.raw_os_error().and_then(|code| u8::try_from(code - STEP).ok()) {
                Some(step) => Err(step),
                None => panic!("no child: {error}"),
            }
        }
        Err(RecvTimeoutError::Timeout) => panic!("the child waits for something"),
        Err(RecvTimeoutError::Disconnected) => panic!("the child was not started"),
    }
}
