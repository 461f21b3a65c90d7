"""How far events have come."""

from panel import AMBER, GREEN, RED, GOOD_AT_ONE, GOOD_AT_ZERO, lines, number, quantiles, thresholds

TITLE = "FintechPlatform / Event system"
DESCRIPTION = "How far events have come: from the log to Kafka, and from there to the consumers."

RATE = "[$__rate_interval]"
AGE = (
    "scalar(max(fintech_balances_looked_at_timestamp_seconds))"
    " - max by (stream) (fintech_oldest_unpublished_event_timestamp_seconds)"
)
LAG = "max by (consumer) (fintech_consumer_lag_seconds)"

ROWS = [
    ("Now", [
        number("Unpublished", "Events of the log that are not known to be in Kafka.",
               [("sum(max by (stream) (fintech_events_unpublished))", "")]),
        number("Oldest unpublished", "Its age, as far as the last look (every 15 s) knows.", [(f"max({AGE})", "")], unit="s",
               steps=thresholds((0, GREEN), (30, AMBER), (120, RED)), alerts=["EventFreshnessBudgetBurn"]),
        number("Furthest behind", "The age of the oldest event that a consumer has not handled.", [(f"max({LAG})", "")], unit="s",
               steps=thresholds((0, GREEN), (60, AMBER), (300, RED)), alerts=["ConsumerLagBudgetBurn"]),
        number("Dead letters", "That wait for somebody.", [("sum(max by (consumer) (fintech_dead_letters_open))", "")],
               steps=GOOD_AT_ZERO, alerts=["DeadLettersOpen"]),
        number("Relays that publish", "One, where Kafka is configured.", [("sum(fintech_relay_leads)", "")], steps=GOOD_AT_ONE,
               alerts=["RelayNotLeading"]),
        number("Kafka", "1 when a broker answered the last look.", [("max(fintech_kafka_up)", "")], steps=GOOD_AT_ONE,
               alerts=["KafkaDown"]),
    ]),
    ("The log and the relay", [
        lines("Events committed", "By type.", [(f"sum by (event_type) (rate(fintech_events_committed_total{RATE}))", "{{event_type}}")],
              unit="ops", stacked=True),
        lines("Events published", "That Kafka acknowledged within a committed transaction.",
              [(f"sum by (stream) (rate(fintech_events_published_total{RATE}))", "{{stream}}")], unit="ops", stacked=True),
        lines("Unpublished", "Events of the log that are not known to be in Kafka.",
              [("max by (stream) (fintech_events_unpublished)", "{{stream}}")]),
        lines("Age of the oldest unpublished", "Younger than 30 s for 99.9 % of the time.", [(AGE, "{{stream}}")], unit="s",
              steps=thresholds((0, GREEN), (30, RED)), alerts=["EventFreshnessBudgetBurn", "RelayNotLeading", "KafkaDown"]),
        lines("Duration of publishing", "A Kafka transaction, from its first record to the acknowledged commit.",
              quantiles("fintech_publish_duration_seconds"), unit="s"),
        lines("Kafka transactions", "Of the relay.",
              [(f"sum by (outcome) (rate(fintech_publish_transactions_total{RATE}))", "{{outcome}}")], unit="ops", stacked=True),
        lines("Events by lane", "A lane that has much more than the others holds a merchant that has.",
              [(f"sum by (lane) (rate(fintech_lane_events_total{RATE}))", "{{lane}}")], unit="ops", stacked=True, width=12),
        lines("Who publishes", "1 while a process does.", [("fintech_relay_leads", "{{instance}}")], width=12, alerts=["RelayNotLeading"]),
    ]),
    ("Consumers", [
        lines("Lag in events", "Events of the log that a consumer has not handled.",
              [("max by (consumer) (fintech_consumer_lag_events)", "{{consumer}}")], alerts=["ConsumerLagBudgetBurn"]),
        lines("Lag in seconds", "Younger than 60 s for 99.9 % of the time, of consumers that nobody has paused.",
              [(LAG, "{{consumer}}")], unit="s", steps=thresholds((0, GREEN), (60, RED)), alerts=["ConsumerLagBudgetBurn"]),
        lines("Paused", "1 while somebody has paused it.", [("max by (consumer) (fintech_consumer_paused)", "{{consumer}}")],
              alerts=["ConsumerPaused"]),
        lines("Events handled", "By consumer.",
              [(f'sum by (consumer) (rate(fintech_consumer_events_total{{outcome="handled"}}{RATE}))', "{{consumer}}")],
              unit="ops", stacked=True),
        lines("Not handled", "Retried, set aside (dead), waiting behind a dead letter (parked), not of the log (foreign).",
              [(f'sum by (consumer, outcome) (rate(fintech_consumer_events_total{{outcome!="handled"}}{RATE}))',
                "{{consumer}} {{outcome}}")], unit="ops"),
        lines("Duration of a transaction", "Effects and position together; a point leads to the trace of one of its events.",
              quantiles("fintech_consumer_duration_seconds", by="consumer"), unit="s", exemplars=True),
    ]),
    ("Dead letters", [
        lines("Open", "That wait to be redriven or given up.", [("max by (consumer) (fintech_dead_letters_open)", "{{consumer}}")],
              alerts=["DeadLettersOpen"]),
        lines("Stored", "In the last hour, by consumer and kind.",
              [("sum by (consumer, kind) (increase(fintech_dead_letters_total[1h]))", "{{consumer}} {{kind}}")]),
        lines("Redriven", "In the last hour: handled, or failed again.",
              [("sum by (consumer, outcome) (increase(fintech_dead_letters_redriven_total[1h]))", "{{consumer}} {{outcome}}")]),
    ]),
]
