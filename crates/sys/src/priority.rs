//! Which threads the processor serves first.

use std::io;

/// How far behind the others a thread steps: enough to get about a tenth of a core that others want too, and so much that
/// it does not hold what others wait for without end.
#[cfg(target_os = "linux")]
const STEPS: i32 = 10;

/// Puts the calling thread behind the other threads of the machine, for as long as it lives. On a machine with nothing
/// else to do it runs as before.
///
/// Errors: where the system knows no priority of single threads, or refuses; nothing has changed then.
pub fn step_back() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // POSIX means the process, Linux the thread.
        rustix::process::nice(STEPS)?;
        Ok(())
    }
    #[cfg(not(target_os = "linux"))]
    Err(io::Error::new(io::ErrorKind::Unsupported, "threads have no priority of their own here"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;
    use std::thread;

    #[test]
    fn only_the_thread_that_asks_steps_back() {
        let before = getpriority_process(None).unwrap();
        let of_thread = thread::spawn(|| {
            step_back().unwrap();
            getpriority_process(None).unwrap()
        });
        assert_eq!(of_thread.join().unwrap(), (before + STEPS).min(19));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
