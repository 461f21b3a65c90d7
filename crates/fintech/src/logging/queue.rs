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
    for line in lines {
        let written = output.write_all(&line);
        waiting.fetch_sub(1, Ordering::SeqCst);
        if written.is_err() {
            lost.inc();
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
    use std::sync::{Mutex, PoisonError, mpsc::channel};

    use super::*;

    /// Writes when it may.
    struct Output {
        may: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may.recv().map_err(io::Error::other)?;
            self.written.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
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
        let (allow, may) = channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (queue, waiting) = Queue::to(Output { may, written: Arc::clone(&written) }).unwrap();
        let lost = &metrics().log_lines_lost;

        // One more than wait may be with the output already.
        let said = LINES_WAITING_MAX + 2;
        for number in 0..said {
            say(&queue, &number.to_string());
        }
        let lost_before = lost.get();
        assert!((1..=2).contains(&lost_before), "{lost_before}");
        let kept = said - usize::try_from(lost_before).unwrap();
        for _ in 0..kept {
            allow.send(()).unwrap();
        }
        drop(waiting);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (0..kept).collect::<Vec<_>>());

        // What cannot be written is lost, too, and the thread goes on.
        drop(allow);
        say(&queue, "nobody takes it");
        say(&queue, "nor that");
        drop(Waiting(Arc::clone(&queue.waiting)));
        let until = Instant::now() + LAST_LINES_TIMEOUT;
        while lost.get() < lost_before + 2 && Instant::now() < until {
            thread::sleep(BETWEEN_LOOKS);
        }
        assert_eq!(lost.get(), lost_before + 2);
    }
}
