"""Pictures of the dashboards for the docs: a run, a Prometheus that scrapes it, and Grafana's own panel components.

    python tests/grafana/draw.py docs        # two minutes; needs node, npm and chromium

Grafana itself is not there: layout, titles, units, thresholds and queries are the dashboards', the panels are drawn by
@grafana/ui of the same version, the page around them is ours.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from boards import dashboard, resolve, variables_of
from prometheus import Prometheus
from scene import ROOT, scene

HERE = Path(__file__).parent
KEPT = ROOT / ".peers" / "grafana-ui"
NOTE = "Queried from a real Prometheus; panels by Grafana's components (@grafana/ui 11.6), the page by draw.py"
LOADERS = [f"--loader:.{kind}=dataurl" for kind in ("svg", "woff", "woff2", "ttf")]


def data_of(name: str, prometheus: Prometheus, span: tuple[float, float], rows: range) -> dict[str, Any]:
    """What `picture/page.jsx` draws: some rows of a dashboard, counted from 1, with what its queries gave."""
    board = dashboard(name)
    variables = variables_of(board, prometheus, span[1] - span[0])
    shown: list[dict[str, Any]] = []
    row = 0
    for panel in board["panels"]:
        row += panel["type"] == "row"
        if row not in rows:
            continue
        at = panel["gridPos"]
        found = {
            "title": panel["title"],
            "type": panel["type"],
            "x": at.get("x", 0),
            "y": at["y"],
            "w": at["w"],
            "h": at["h"],
        }
        if panel["type"] != "row":
            defaults = panel["fieldConfig"]["defaults"]
            found |= {
                "unit": defaults["unit"],
                "steps": defaults["thresholds"]["steps"],
                "min": defaults.get("min"),
                "max": defaults.get("max"),
                "stacked": "stacking" in defaults.get("custom", {}),
                "series": [
                    one for target in panel["targets"] for one in series_of(target, prometheus, variables, span)
                ],
            }
        shown.append(found)
    top = min(panel["y"] for panel in shown)
    for panel in shown:
        panel["y"] -= top
    lines = max(panel["y"] + panel["h"] for panel in shown)
    return {"title": board["title"], "note": NOTE, "from": span[0], "to": span[1], "panels": shown, "lines": lines}


def series_of(
    target: dict[str, Any], prometheus: Prometheus, variables: dict[str, str], span: tuple[float, float]
) -> list[dict[str, Any]]:
    expr = resolve(target["expr"], variables)
    once = bool(target.get("instant"))
    found = []
    for one in prometheus.instant(expr, span[1]) if once else prometheus.range(expr, *span, 1):
        name = target["legendFormat"]
        for label, value in one["metric"].items():
            name = name.replace("{{" + label + "}}", value)
        points = [(float(t), float(v)) for t, v in one.get("values", [one.get("value")])]
        if known := [(t, v) for t, v in points if math.isfinite(v)]:
            found.append({"name": name, "points": known})
    return sorted(found, key=lambda one: one["name"])


def draw(data: dict[str, Any], out: Path) -> None:
    """Writes a PNG."""
    page = KEPT / "page.html"
    page.write_text(
        '<!doctype html><meta charset="utf-8"><body style="margin:0"><div id="root"></div>'
        f"<script>window.__grafana_public_path__ = ''; window.DASHBOARD = {json.dumps(data)}</script>"
        '<link rel="stylesheet" href="page.css"><script src="page.js"></script>',
        encoding="utf-8",
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000"]
    size = f"--window-size=1200,{data['lines'] * 38 + 70}"
    subprocess.run(["chromium", *flags, size, f"--screenshot={out}", str(page)], check=True, capture_output=True)


def build() -> None:
    """Grafana's components, fetched once, and the page bundled with them."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "page.jsx"):
        (KEPT / name).write_text((HERE / "picture" / name).read_text(), encoding="utf-8")
    if not (KEPT / "node_modules").exists():
        subprocess.run(["npm", "install", "--ignore-scripts", "--legacy-peer-deps", "--no-audit"], cwd=KEPT, check=True)
    bundle = ["npx", "esbuild", "page.jsx", "--bundle", "--minify", "--outfile=page.js", *LOADERS]
    bundle += ['--define:process.env.NODE_ENV="production"', "--define:global=window"]
    subprocess.run(bundle, cwd=KEPT, check=True)


def main() -> None:
    out = Path(sys.argv[1]).resolve()
    build()
    agents = {"levels": [1, 4], "script": "quick", "reply_scale": 0.25, "system_tokens": 1500, "context": "4k"}
    stage = {"warmup": "2s", "duration": "12s", "trials": 1}
    kinds = ["lru-cache", "merge-sort", "cron-tests", "flask-layers", "rate-limiter"]
    with tempfile.TemporaryDirectory() as folder:
        with scene(Path(folder), agents=agents, stage=stage, tasks=kinds) as live:
            span = live.run("four-agents")
            found = {
                "live": data_of("live", live.prometheus, span, range(1, 4)),
                "models": data_of("models", live.prometheus, span, range(1, 4)),
            }
        for name, data in found.items():
            draw(data, out / f"dashboard-{name}.png")


if __name__ == "__main__":
    main()
