//! The tasks that live as long as the program, by name: how long they are polled, and how long they wait for it.
//!
//! Connections are not among them: there are thousands of them, each polled a few times a request, and what they wait for is
//! in the duration of requests already.

use std::{sync::LazyLock, time::Duration};

use tokio_metrics::{TaskMetrics, TaskMonitor};

/// A poll keeps its thread, and whoever else could run there, waiting for so long.
pub const SLOW_POLL: Duration = Duration::from_millis(10);

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// All writers of the log. On SQLite a writer has a thread of its own, and a poll takes as long as the commit in it.
    Writer,
    Relay,
    /// All consumers. On Kafka each group has a thread of its own.
    Consumer,
    Sweeper,
    /// Looks up what is told of the whole platform.
    Gauges,
    Reconciler,
    /// Writes the record of requests.
    RequestRecord,
    /// Reads the log for all who listen to it.
    EventStream,
}

impl Task {
    pub const ALL: [Self; 8] = [
        Self::Writer,
        Self::Relay,
        Self::Consumer,
        Self::Sweeper,
        Self::Gauges,
        Self::Reconciler,
        Self::RequestRecord,
        Self::EventStream,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Relay => "relay",
            Self::Consumer => "consumer",
            Self::Sweeper => "sweeper",
            Self::Gauges => "gauges",
            Self::Reconciler => "reconciler",
            Self::RequestRecord => "request_record",
            Self::EventStream => "event_stream",
        }
    }

    fn monitor(self) -> &'static TaskMonitor {
        static MONITORS: LazyLock<[TaskMonitor; Task::ALL.len()]> =
            LazyLock::new(|| Task::ALL.map(|_| TaskMonitor::with_slow_poll_threshold(SLOW_POLL)));
        &MONITORS[self as usize]
    }

    /// `None`: this process has no such task, and had none.
    pub(crate) fn metrics(self) -> Option<TaskMetrics> {
        let metrics = self.monitor().cumulative();
        (metrics.instrumented_count > 0).then_some(metrics)
    }
}

/// The same future, watched as part of `task`. It is to be what the runtime polls, not something within that.
pub fn watched<F: Future>(task: Task, future: F) -> impl Future<Output = F::Output> + use<F> {
    task.monitor().instrument(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_has_a_monitor_and_a_name_of_its_own() {
        for (place, task) in Task::ALL.into_iter().enumerate() {
            assert_eq!(task as usize, place, "{task:?}");
            assert!(task.name().chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            assert!(!Task::ALL[..place].iter().any(|before| before.name() == task.name()));
        }
    }

    #[test]
    fn a_long_poll_is_counted_as_slow_and_nothing_is_told_of_what_never_ran() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(Task::Sweeper.metrics().is_none());
        runtime.block_on(watched(Task::Sweeper, async {
            tokio::task::yield_now().await;
            std::thread::sleep(SLOW_POLL);
        }));
        let metrics = Task::Sweeper.metrics().unwrap();
        assert_eq!((metrics.total_poll_count, metrics.total_slow_poll_count), (2, 1));
        assert!(metrics.total_poll_duration >= SLOW_POLL, "{metrics:?}");
    }
}
