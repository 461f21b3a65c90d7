//! Lines of the log on their way to standard output. A thread of their own writes them: a disk that is slow, or a reader
//! that reads no more, would otherwise hold up whoever has something to say, and a payment with it. What finds the queue
//! full, or cannot be written, is lost, counted, and told of as soon as lines are written again.
//!
//! `tracing-appender` does nearly this, but does not count what could not be written, and may wait for ever at the end: it
//! tells on standard output that standard output is stuck.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use telemetry::metrics;
use tracing_subscriber::fmt::MakeWriter;

/// Some seconds of a busy program's lines, and some megabytes.
const LINES_WAITING_MAX: usize = 8192;
const LINES_AT_ONCE_MAX: usize = 256;
const BETWEEN_WRITES: Duration = Duration::from_millis(2);
/// What a disk gets to take the last lines.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// A disk that is only slow loses lines all the time; telling of it must not be most of what is written.
const TOLD_EVERY: Duration = Duration::from_secs(10);

thread_local! {
    /// Of the thread that writes: a line of its own, which goes past the queue.
    static OWN_LINE: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

pub struct Queue {
    lines: SyncSender<Vec<u8>>,
    waiting: Arc<AtomicU64>,
}

/// Whoever drops it waits until all lines are written, but not for long.
pub struct Waiting(Arc<AtomicU64>);

impl Queue {
    pub fn to_stdout() -> io::Result<(Self, Waiting)> {
        // Not the library's handle: whoever writes holds its lock, and would hold up others who print.
        Self::to(File::from(io::stdout().as_fd().try_clone_to_owned()?))
    }

    fn to(output: impl Write + Send + 'static) -> io::Result<(Self, Waiting)> {
        let (lines, taken) = sync_channel(LINES_WAITING_MAX);
        let waiting = Arc::new(AtomicU64::new(0));
        let (queue, counted) = (Self { lines, waiting: Arc::clone(&waiting) }, Arc::clone(&waiting));
        thread::Builder::new().name("log".to_owned()).spawn(move || write(output, &taken, &counted))?;
        Ok((queue, Waiting(waiting)))
    }
}

impl Write for &Queue {
    /// A whole line at a time, as the library of log lines writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_own = OWN_LINE.with_borrow_mut(|own| own.as_mut().map(|own| own.extend(line)).is_some());
        if is_own {
            return Ok(line.len());
        }
        // Before it is there, so that it is never counted as written first.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if self.lines.try_send(line.to_vec()).is_err() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            metrics().log_lines_lost.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let until = Instant::now() + LAST_LINES_TIMEOUT;
        while self.0.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}

fn write(mut output: impl Write, lines: &Receiver<Vec<u8>>, waiting: &AtomicU64) {
    let lost = &metrics().log_lines_lost;
    let (mut told, mut told_at) = (0, None::<Instant>);
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(first) = next.take() {
            let (mut bytes, mut count) = (first, 1);
            for line in lines.try_iter().take(LINES_AT_ONCE_MAX - 1) {
                bytes.extend(line);
                count += 1;
            }
            let written = output.write_all(&bytes);
            waiting.fetch_sub(count, Ordering::SeqCst);
            if written.is_err() {
                lost.inc_by(count);
            } else if lost.get() > told && told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
                let now_lost = lost.get();
                let line = own_line(|| {
                    let lines = now_lost - told;
                    tracing::warn!(
                        lines,
                        "lines of the log were lost: they could not be written as fast as they came"
                    );
                });
                if output.write_all(&line).is_ok() {
                    (told, told_at) = (now_lost, Some(Instant::now()));
                }
            }
            // Whoever says something meanwhile has nobody to wake.
            thread::sleep(BETWEEN_WRITES);
            next = lines.try_recv().ok();
        }
    }
}

/// What this thread says there, as it is to be written.
fn own_line(say: impl FnOnce()) -> Vec<u8> {
    OWN_LINE.set(Some(Vec::new()));
    say();
    OWN_LINE.take().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Whoever holds its lock holds up who writes.
    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Written>>);

    #[derive(Default)]
    struct Written {
        bytes: Vec<u8>,
        is_full: bool,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if written.is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.bytes.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say(mut queue: &Queue, line: &str) {
        queue.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// One test, since they share the counter.
    #[test]
    fn lines_wait_for_their_output_and_nobody_waits_for_them() {
        let output = Output::default();
        let (queue, waiting) = Queue::to(output.clone()).unwrap();
        let lost = &metrics().log_lines_lost;

        let held = output.0.lock().unwrap();
        let said = LINES_WAITING_MAX + LINES_AT_ONCE_MAX + 1;
        for number in 0..said {
            say(&queue, &number.to_string());
        }
        let lost_before = lost.get();
        assert!(lost_before > 0);
        drop(held);
        drop(waiting);
        let text = String::from_utf8(output.0.lock().unwrap().bytes.clone()).unwrap();
        let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        let kept = said - usize::try_from(lost_before).unwrap();
        assert_eq!(numbers, (0..kept).collect::<Vec<_>>());

        // What cannot be written is lost, too, and the thread goes on.
        output.0.lock().unwrap().is_full = true;
        say(&queue, "no room for it");
        say(&queue, "nor for that");
        drop(Waiting(Arc::clone(&queue.waiting)));
        let until = Instant::now() + LAST_LINES_TIMEOUT;
        while lost.get() < lost_before + 2 && Instant::now() < until {
            thread::sleep(BETWEEN_LOOKS);
        }
        assert_eq!(lost.get(), lost_before + 2);
    }
}
