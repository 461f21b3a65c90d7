"""What panels and dashboards have in common, in the form of Grafana 11 (schema 39).

A panel is made of its title, what it says, and its queries: pairs of a query and the legend of its series.
"""

SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH = 24
RED, AMBER, GREEN = "red", "orange", "green"
RUNBOOKS = "docs/runbooks"


def thresholds(*steps):
    """Pairs of a value and the colour from it on; the first value counts for all that is below."""
    values = [{"color": color, "value": None if i == 0 else value} for i, (value, color) in enumerate(steps)]
    return {"mode": "absolute", "steps": values}


GOOD_AT_ZERO = thresholds((0, GREEN), (1, RED))
GOOD_AT_ONE = thresholds((0, RED), (1, GREEN))
PLAIN = thresholds((0, "text"))


def panel(kind, title, says, queries, *, unit="short", width=8, height=8, exemplars=False, steps=None, alerts=(), **more):
    """`alerts` are those that tell when this is bad; their runbooks are named in the description."""
    if alerts:
        says += "\n\nRunbooks: " + ", ".join(f"`{RUNBOOKS}/{alert}.md`" for alert in alerts)
    targets = []
    for letter, (expr, legend) in zip("ABCDEFGH", queries, strict=False):
        target = {"refId": letter, "datasource": SOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend}
        if kind == "timeseries":
            target |= {"range": True, "exemplar": exemplars}
        else:
            target |= {"instant": True, "range": False}
        targets.append(target)
    defaults = {"unit": unit, "thresholds": steps or PLAIN} | more.pop("defaults", {})
    return {
        "type": kind,
        "title": title,
        "description": says,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": more.pop("options", {}),
        "targets": targets,
    } | more


def lines(title, says, queries, *, stacked=False, min_zero=True, **more):
    """Values over time."""
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if stacked else 5, "showPoints": "never"}
    custom["stacking"] = {"mode": "normal" if stacked else "none", "group": "A"}
    if more.get("steps"):
        custom["thresholdsStyle"] = {"mode": "dashed"}
    defaults = {"custom": custom, "color": {"mode": "palette-classic"}}
    if min_zero:
        defaults["min"] = 0
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, says, queries, defaults=defaults, options=options, **more)


def number(title, says, queries, *, width=4, height=4, steps=PLAIN, **more):
    """What is now."""
    options = {
        "colorMode": "background" if steps is not PLAIN else "value",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    }
    defaults = {"color": {"mode": "thresholds"}}
    return panel(
        "stat", title, says, queries, width=width, height=height, steps=steps, options=options, defaults=defaults, **more
    )


def quantiles(histogram, by="", where=""):
    """The median and the slowest hundredth, from the buckets."""
    le = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    buckets = f"sum by ({le}) (rate({histogram}_bucket{where}[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {buckets})", f"{legend}{word}") for q, word in ((0.5, "p50"), (0.99, "p99"))]


def laid_out(rows):
    """Each row has a title and panels, which are set from the left, and go on below where there is no more room."""
    panels, y, number_ = [], 0, 0
    for title, members in rows:
        number_ += 1
        heading = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        panels.append({"type": "row", "id": number_, "title": title, "collapsed": False, "gridPos": heading, "panels": []})
        x, y, tallest = 0, y + 1, 0
        for member in members:
            width, height = member["gridPos"]["w"], member["gridPos"]["h"]
            if x + width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            number_ += 1
            panels.append(member | {"id": number_, "gridPos": {"h": height, "w": width, "x": x, "y": y}})
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return panels


def dashboard(name, title, says, rows, names):
    links = [
        {"title": other, "type": "link", "url": f"/d/fintech-{other}", "keepTime": True, "icon": "dashboard", "asDropdown": False,
         "includeVars": False, "tags": [], "targetBlank": False, "tooltip": ""}
        for other in names if other != name
    ]
    return {
        "uid": f"fintech-{name}",
        "title": title,
        "description": says,
        "tags": ["fintech"],
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "annotations": {"list": [firing()]},
        "templating": {"list": []},
        "links": links,
        "panels": laid_out(rows),
    }


def firing():
    """Alerts are marks over every chart, so that one sees what moved when they began."""
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'count by (alertname, severity) (ALERTS{alertstate="firing"})',
        "titleFormat": "{{alertname}}",
        "tagKeys": "severity",
    }
