"""Whether the books are right."""

from panel import GREEN, RED, GOOD_AT_ZERO, lines, number, quantiles, thresholds

TITLE = "FintechPlatform / Ledger and reconciliation"
DESCRIPTION = "Whether the books are right, when somebody last looked, and what the platform holds."

RATE = "[$__rate_interval]"
AGE = "time() - (max(fintech_reconciliation_last_run_timestamp_seconds) > 0)"

ROWS = [
    ("Now", [
        number("Breaks", "That the last complete run found. Anything but 0 is an emergency.",
               [("sum(max by (kind) (fintech_reconciliation_breaks))", "")], steps=GOOD_AT_ZERO, width=6, alerts=["ReconciliationBreaks"]),
        number("Last run ended", "How long ago the last complete run ended.", [(AGE, "")], unit="s", width=6,
               steps=thresholds((0, GREEN), (7200, RED)), alerts=["ReconciliationOverdue"]),
        number("It took", "The last complete run of a process that has had one.",
               [("max(fintech_reconciliation_last_run_duration_seconds)", "")], unit="s", width=6),
        number("Balances are from", "How long ago the balances below were looked at.",
               [("time() - max(fintech_balances_looked_at_timestamp_seconds)", "")], unit="s", width=6,
               steps=thresholds((0, GREEN), (300, RED)), alerts=["LooksStandStill"]),
    ]),
    ("Reconciliation", [
        lines("Breaks by kind", "Of the last complete run.", [("max by (kind) (fintech_reconciliation_breaks)", "{{kind}}")],
              alerts=["ReconciliationBreaks"]),
        lines("Runs", "In the last hour: clean, broken, or failed to find out.",
              [("sum by (outcome) (increase(fintech_reconciliation_runs_total[1h]))", "{{outcome}}")]),
        lines("Looked at", "Events of the log, rows and records a second.",
              [(f"sum(rate(fintech_reconciliation_events_total{RATE}))", "looked at")], unit="ops"),
        lines("Since the last run", "Within two hours, two intervals.", [(AGE, "seconds")], unit="s",
              steps=thresholds((0, GREEN), (7200, RED)), width=12, alerts=["ReconciliationOverdue"]),
    ]),
    ("The platform's own accounts", [
        lines("Balances", "Of the platform's accounts over all lanes, in minor units of the currency.",
              [("max by (account, currency) (fintech_platform_balance_minor_units)", "{{account}} {{currency}}")],
              width=24, height=10, min_zero=False),
    ]),
    ("Commits", [
        lines("Batches", "Transactions of the writers: committed, empty, failed, or unknown (the answer to COMMIT was lost).",
              [(f"sum by (outcome) (rate(fintech_batches_total{RATE}))", "{{outcome}}")], unit="ops", stacked=True),
        lines("Commands in a batch", "The more wait, the more go into one.", quantiles("fintech_batch_commands")),
        lines("Duration of a batch", "From locking the lanes to the end of COMMIT.",
              quantiles("fintech_batch_duration_seconds"), unit="s", alerts=["CommandLatencyBudgetBurn"]),
    ]),
]
