"""Whether processes, database and Kafka are well."""

from panel import AMBER, GREEN, RED, GOOD_AT_ONE, lines, number, quantiles, thresholds

TITLE = "FintechPlatform / System health"
DESCRIPTION = "Whether processes, the database and Kafka are well, and how much room is left."

RATE = "[$__rate_interval]"
JOB = '{job="fintech"}'
FULL = "fintech_commands_waiting / (fintech_commands_waiting_max > 0)"
FILES = f"process_open_fds{JOB} / process_max_fds"

ROWS = [
    ("Now", [
        number("Processes that answer", "That Prometheus reaches.", [(f"sum(up{JOB})", "")], steps=GOOD_AT_ONE,
               alerts=["ApiDown", "ProcessDown"]),
        number("Database", "1 when every process's last look was answered.", [("min(fintech_database_up)", "")], steps=GOOD_AT_ONE,
               alerts=["DatabaseDown"]),
        number("Kafka", "1 when every process's last look was answered.", [("min(fintech_kafka_up)", "")], steps=GOOD_AT_ONE,
               alerts=["KafkaDown"]),
        number("Fullest queue", "Of the writers, against how many commands may wait.", [(f"max({FULL})", "")], unit="percentunit",
               steps=thresholds((0, GREEN), (0.5, AMBER), (0.8, RED)), alerts=["QueueNearlyFull"]),
        number("Alerts", "That fire.", [('count(ALERTS{alertstate="firing"}) or vector(0)', "")],
               steps=thresholds((0, GREEN), (1, AMBER))),
        number("Versions", "How many run at once: two during an upgrade.", [("count(count by (version) (fintech_build_info))", "")]),
    ]),
    ("Processes", [
        lines("Processor", "Cores.", [(f"rate(process_cpu_seconds_total{JOB}{RATE})", "{{instance}}")], stacked=True),
        lines("Memory", "Resident.", [(f"process_resident_memory_bytes{JOB}", "{{instance}}")], unit="bytes"),
        lines("Address space", "Virtual memory; most of it is not used.", [(f"process_virtual_memory_bytes{JOB}", "{{instance}}")],
              unit="bytes"),
        lines("Threads", "Of the operating system.", [(f"process_threads{JOB}", "{{instance}}")]),
        lines("Open files", "Share of those that may be open.", [(FILES, "{{instance}}")], unit="percentunit",
              steps=thresholds((0, GREEN), (0.8, RED)), alerts=["OpenFilesNearlyOut"]),
        lines("Running for", "Since the start of the process.", [(f"time() - process_start_time_seconds{JOB}", "{{instance}}")],
              unit="s", alerts=["ProcessRestarts"]),
    ]),
    ("Tasks (tokio)", [
        lines("Workers that are busy", "Share of the time of all worker threads.",
              [(f"rate(tokio_workers_busy_seconds_total{RATE}) / tokio_workers", "{{instance}}")], unit="percentunit"),
        lines("Tasks", "That have not ended.", [("tokio_alive_tasks", "{{instance}}")]),
        lines("Tasks that wait", "In the queue that any worker takes from.", [("tokio_global_queue_depth", "{{instance}}")]),
        lines("Parks", "Times a second that a worker had nothing to do.",
              [(f"rate(tokio_worker_parks_total{RATE})", "{{instance}}")], unit="ops"),
        lines("A poll", "How long a worker runs a task at a time, a mean that forgets.", [("tokio_mean_poll_seconds", "{{instance}}")],
              unit="s"),
        lines("Threads for what blocks", "And what waits for one of them.",
              [("tokio_blocking_threads", "threads {{instance}}"), ("tokio_blocking_queue_depth", "waiting {{instance}}")]),
    ]),
    ("Tasks by name", [
        lines("Running", "Time that a task is polled, a second; a writer on SQLite waits for its disk in that.",
              [(f"sum by (task) (rate(fintech_task_polled_seconds_total{RATE}))", "{{task}}")], unit="percentunit"),
        lines("Waiting for a thread", "Mean time from being woken to being polled. It rises when the workers are busy.",
              [(f"sum by (task) (rate(fintech_task_scheduled_seconds_total{RATE})) / sum by (task) (rate(fintech_task_wakes_total{RATE}))",
                "{{task}}")], unit="s"),
        lines("Slow polls", "Of ten milliseconds or more, in which nobody else ran on that thread.",
              [(f"sum by (task) (rate(fintech_task_slow_polls_total{RATE}))", "{{task}}")], unit="ops"),
    ]),
    ("Database", [
        lines("Reached", "1 when the last look was answered.", [("fintech_database_up", "{{instance}}")], alerts=["DatabaseDown"]),
        lines("Duration of a look", "One small query every fifteen seconds.", quantiles("fintech_database_look_duration_seconds"),
              unit="s"),
        lines("Errors", "Times that the database was not there, by what for.",
              [(f"sum by (kind) (rate(fintech_database_errors_total{RATE}))", "{{kind}}")], unit="ops", alerts=["DatabaseDown"]),
        lines("Queue of the writers", "Against how many commands may wait.", [(FULL, "{{instance}}")], unit="percentunit",
              steps=thresholds((0, GREEN), (0.8, RED)), alerts=["QueueNearlyFull"]),
        lines("Duration of a batch", "From locking the lanes to the end of COMMIT.",
              quantiles("fintech_batch_duration_seconds"), unit="s"),
    ]),
    ("Kafka, traces and the log", [
        lines("Kafka reached", "1 when a broker answered the last look.", [("fintech_kafka_up", "{{instance}}")], alerts=["KafkaDown"]),
        lines("Errors of the Kafka clients", "Of the relay (producer) and the consumers.",
              [(f"sum by (kind) (rate(fintech_kafka_client_errors_total{RATE}))", "{{kind}}")], unit="ops"),
        lines("Spans", "That a collector took, and those that none did.",
              [(f"sum(rate(fintech_spans_exported_total{RATE}))", "exported"), (f"sum(rate(fintech_spans_lost_total{RATE}))", "lost")],
              unit="ops", alerts=["SpansLost"]),
        lines("Lines of the log that were lost", "Standard output does not take them.",
              [(f"sum by (instance) (rate(fintech_log_lines_lost_total{RATE}))", "{{instance}}")], unit="ops", alerts=["LogLinesLost"]),
    ]),
]
