"""Whether money is flowing."""

from panel import AMBER, GREEN, RED, lines, number, quantiles, thresholds

TITLE = "FintechPlatform / Payments"
DESCRIPTION = "Whether money is flowing: what is asked for, what becomes of it, and how long it takes."

API = 'route=~"/api/.+"'
RATE = "[$__rate_interval]"
OF_API = f"sum(rate(fintech_http_requests_total{{{API}}}{RATE}))"
FAILED = f'(sum(rate(fintech_http_requests_total{{{API},status=~"5.."}}{RATE})) or 0 * {OF_API})'

ROWS = [
    ("Now", [
        number("Completed a second", "Payments that reached the state completed.",
               [(f'sum(rate(fintech_payments_total{{status="completed"}}{RATE})) or vector(0)', "")], unit="ops"),
        number("Created a second", "Payments that were made.",
               [(f'sum(rate(fintech_payments_total{{status="created"}}{RATE})) or vector(0)', "")], unit="ops"),
        number("Requests that fail", "The share of the API's answers that are 5xx, 503 included. The budget is 0.1 %.",
               [(f"{FAILED} / ({OF_API} > 0)", "")], unit="percentunit",
               steps=thresholds((0, GREEN), (0.001, AMBER), (0.0144, RED)), alerts=["ApiErrorBudgetBurn"]),
        number("Slowest hundredth", "From the queue to the durable answer, of commands that are not bulk requests.",
               [quantiles("fintech_command_duration_seconds", where='{command!="create_payments"}')[1]], unit="s",
               steps=thresholds((0, GREEN), (0.1, AMBER), (1, RED)), alerts=["CommandLatencyBudgetBurn"]),
        number("Commands that wait", "In the queues of all writers.", [("sum(fintech_commands_waiting)", "")],
               alerts=["QueueNearlyFull"]),
        number("Requests in flight", "That are being answered, of the API and the console.",
               [("sum(fintech_http_requests_in_flight)", "")]),
    ]),
    ("Requests", [
        lines("Requests by status", "Of the API.",
              [(f"sum by (status) (rate(fintech_http_requests_total{{{API}}}{RATE}))", "{{status}}")],
              unit="reqps", stacked=True, alerts=["ApiErrorBudgetBurn", "ApiDown"]),
        lines("Requests by route", "Of the API, the ten that are asked most.",
              [(f"topk(10, sum by (method, route) (rate(fintech_http_requests_total{{{API}}}{RATE})))", "{{method}} {{route}}")],
              unit="reqps"),
        lines("Duration of requests", "From a request's head to its answer's. A point leads to the trace of one of them.",
              quantiles("fintech_http_request_duration_seconds", where=f"{{{API}}}"), unit="s", exemplars=True),
        lines("Refused for who asked", "No key, an unknown, expired or revoked one, another's merchant, or too many.",
              [(f"sum by (reason) (rate(fintech_access_refused_total{RATE}))", "{{reason}}")], unit="reqps", stacked=True),
        lines("Repeated with a key", "Idempotency keys: first, replayed (the first answer again), reused (refused).",
              [(f"sum by (outcome) (rate(fintech_idempotency_keys_total{RATE}))", "{{outcome}}")], unit="ops", stacked=True),
        lines("Not kept in the record of requests", "Requests that the console's record only counted.",
              [(f"sum(rate(fintech_requests_not_kept_total{RATE}))", "not kept")], unit="reqps"),
    ]),
    ("Commands", [
        lines("Commands by outcome", "Done, refused (by the rules), replayed, or failed (the caller was told 503).",
              [(f"sum by (outcome) (rate(fintech_commands_total{RATE}))", "{{outcome}}")], unit="ops", stacked=True),
        lines("Commands by kind", "What is asked for.",
              [(f"sum by (command) (rate(fintech_commands_total{RATE}))", "{{command}}")], unit="ops", stacked=True),
        lines("Duration by kind", "The slowest hundredth, from the queue to the durable answer; with traces.",
              [quantiles("fintech_command_duration_seconds", by="command")[1]], unit="s", exemplars=True,
              alerts=["CommandLatencyBudgetBurn"]),
    ]),
    ("Money", [
        lines("Payments by state", "Payments that entered a state.",
              [(f"sum by (status) (rate(fintech_payments_total{RATE}))", "{{status}}")], unit="ops", stacked=True),
        lines("Withdrawals by state", "Withdrawals that entered a state.",
              [(f"sum by (status) (rate(fintech_withdrawals_total{RATE}))", "{{status}}")], unit="ops", stacked=True),
        lines("Completed volume by currency", "In minor units (cents of EUR, yen of JPY) a second: currencies are not to be added up.",
              [(f"sum by (currency) (rate(fintech_payments_completed_volume_minor_units_total{RATE}))", "{{currency}}")]),
        lines("Refunded volume by currency", "In minor units a second.",
              [(f"sum by (currency) (rate(fintech_refunds_volume_minor_units_total{RATE}))", "{{currency}}")]),
        lines("Payments by currency", "Completed ones.",
              [(f'sum by (currency) (rate(fintech_payments_total{{status="completed"}}{RATE}))', "{{currency}}")],
              unit="ops", stacked=True),
    ]),
]
