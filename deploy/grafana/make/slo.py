"""What of the promises is left."""

from panel import AMBER, GREEN, RED, lines, number, thresholds

TITLE = "FintechPlatform / SLOs"
DESCRIPTION = "What of the promises of deploy/slo/slos.yaml is left, and how fast it goes."

LEFT = thresholds((0, RED), (0.25, AMBER), (0.5, GREEN))
ALERTS = ["ApiErrorBudgetBurn", "CommandLatencyBudgetBurn", "EventFreshnessBudgetBurn", "ConsumerLagBudgetBurn"]


def burn(window):
    """How many times as fast as it may be: at 1 the budget lasts for exactly its 28 days."""
    return f"slo:error:ratio_{window} / on (slo) slo:budget:ratio"


ROWS = [
    ("28 days", [
        number("Budget left", "1 is untouched, 0 spent. With less than 28 days of data, of those there are.",
               [("slo:budget_left:ratio", "{{slo}}")], unit="percentunit", width=24, height=5, steps=LEFT),
        lines("Budget left over time", "A steep fall is an incident, a steady one a habit.", [("slo:budget_left:ratio", "{{slo}}")],
              unit="percentunit", width=12, min_zero=False),
        lines("Bad in 28 days", "The share that was bad.", [("slo:error:ratio_28d", "{{slo}}")], unit="percentunit", width=12),
    ]),
    ("Burn rates", [
        lines("5 minutes and an hour", "Above 14.4 in both somebody is woken.",
              [(burn("5m"), "{{slo}} 5m"), (burn("1h"), "{{slo}} 1h")], steps=thresholds((0, GREEN), (14.4, RED)), alerts=ALERTS),
        lines("30 minutes and six hours", "Above 6 in both somebody is woken.",
              [(burn("30m"), "{{slo}} 30m"), (burn("6h"), "{{slo}} 6h")], steps=thresholds((0, GREEN), (6, RED)), alerts=ALERTS),
        lines("Three days", "Above 1 here and in six hours it is a ticket.", [(burn("3d"), "{{slo}} 3d")],
              steps=thresholds((0, GREEN), (1, AMBER)), alerts=ALERTS),
    ]),
    ("What they are made of", [
        lines("Bad requests and late commands", "A second.", [("slo:bad:rate_5m", "{{slo}}")], unit="ops"),
        lines("Requests and commands", "A second.", [("slo:total:rate_5m", "{{slo}}")], unit="ops"),
        lines("Bad moments", "1 while it is bad: late events, consumers behind, breaks, a reconciliation that is overdue.",
              [("slo:bad:bool", "{{slo}}")]),
    ]),
]
