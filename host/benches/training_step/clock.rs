//! Wall time, CPU time and memory of this process.

use std::{
    ops::Sub,
    time::{Duration, Instant},
};

/// A moment.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    wall: Instant,
    cpu: Duration,
}

/// Time between two moments.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) wall: Duration,
    /// Of all threads; 0 where the system does not tell.
    pub(crate) cpu: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            wall: Instant::now(),
            cpu: cpu_time(),
        }
    }

    pub(crate) fn elapsed(self) -> Span {
        Self::now() - self
    }
}

impl Sub for Moment {
    type Output = Span;

    fn sub(self, start: Self) -> Span {
        Span {
            wall: self.wall - start.wall,
            cpu: self.cpu - start.cpu,
        }
    }
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "the C library takes a pointer")]
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a whole `timespec` that lives until the call returns.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "no clock of the process's CPU time");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(not(unix))]
fn cpu_time() -> Duration {
    Duration::ZERO
}

/// Most resident memory so far in KiB, where Linux tells it.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
