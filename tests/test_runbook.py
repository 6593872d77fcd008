"""Conditions, Prometheus' rules and the runbook agree; promtool tests the rules."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # it is there for the description's tools
from flask.testing import FlaskClient

from receiver.alerts import CATALOGUE, runbook_link
from receiver.cli import main
from tests.service import ROOT
from tests.test_metrics import names

PROMETHEUS = ROOT / "deploy/prometheus"
RUNBOOK = (ROOT / "deploy/runbook.md").read_text(encoding="utf-8")

RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_bytes())["groups"]
    for rule in group["rules"]
}
TRIALS = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_bytes())["tests"]


def anchors(text: str) -> set[str]:
    """The anchors that a page of Markdown has, as GitHub and most others make them."""
    titles = re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^#{1,2} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("condition", CATALOGUE)
def test_a_condition_has_a_section_that_says_all_it_should(condition: str) -> None:
    section = sections(RUNBOOK)[runbook_link(condition).partition("#")[2]]
    for word in ("**Means**", "**Confirm**", "**Do**", "**Resolved**"):
        assert word in section


@pytest.mark.parametrize("alert", sorted(RULES.keys() - {"OrdertrailCondition"}))
def test_a_rule_names_a_section_of_the_runbook(alert: str) -> None:
    page, _, section = RULES[alert]["annotations"]["runbook_url"].partition("#")
    assert page == "{{ $externalLabels.console }}/runbook"
    assert section in anchors(RUNBOOK)


@pytest.mark.parametrize("alert", RULES)
def test_a_gap_in_the_scrapes_resolves_no_alert(alert: str) -> None:
    assert RULES[alert]["keep_firing_for"] == "5m"


@pytest.mark.parametrize("alert", RULES)
def test_a_rule_is_tested_firing_and_not_firing(alert: str) -> None:
    expected = [
        bool(trial["exp_alerts"])
        for one in TRIALS
        for trial in one["alert_rule_test"]
        if trial["alertname"] == alert
    ]
    assert set(expected) == {True, False}


def metrics_in(text: str) -> set[str]:
    """The metrics that a query names, as the code names them."""
    found = re.findall(r"\bordertrail_\w+", text)
    return {re.sub(r"_(total|bucket|sum|count|info)$", "", name) for name in found}


def test_rules_use_only_metrics_that_there_are(shop: FlaskClient) -> None:
    text = (PROMETHEUS / "rules.yml").read_text(encoding="utf-8")
    used = metrics_in(text)
    assert used
    assert used <= names(shop)


def test_the_dashboard_uses_only_metrics_that_there_are(shop: FlaskClient) -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/ordertrail.json").read_bytes())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert all("ordertrail_" in query for query in queries)
    used = metrics_in(" ".join(queries))
    assert len(used) > len(names(shop)) / 2
    assert used <= names(shop)


def unit_of(query: str) -> str:
    """What the values of a query are: seconds, bytes, shares, rates or counts."""
    if " / " in query and "_sum[" not in query:
        return "share"
    if "_bytes" in query:
        return "bytes"
    if re.search(r"_seconds(_bucket|_left)?\b", query) and "cpu_seconds" not in query:
        return "seconds"
    return "rate" if "rate(" in query and "* 3600" not in query else "count"


def test_a_panel_of_the_dashboard_mixes_no_units() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/ordertrail.json").read_bytes())
    units: dict[str, set[str]] = {}
    for panel in dashboard["panels"]:
        found = {unit_of(target["expr"]) for target in panel["targets"]}
        assert len(found) == 1, panel["title"]
        units.setdefault(panel["fieldConfig"]["defaults"]["unit"], set()).update(found)
    assert units["s"] == {"seconds"}
    assert units["bytes"] == {"bytes"}
    assert units["percentunit"] == {"share"}


def test_the_dashboards_queries_can_be_read_by_prometheus(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    dashboard = json.loads((ROOT / "deploy/grafana/ordertrail.json").read_bytes())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"q:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "q", "rules": rules}]}))
    done = _run(promtool, "check", "rules", "rules.yml", where=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_within_the_runbook_lead_somewhere() -> None:
    assert set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK)) <= anchors(RUNBOOK)


def test_commands_in_the_runbook_are_there() -> None:
    commands = {name for group in main.command_table().values() for name in group}
    named = set(re.findall(r"`ordertrail ([a-z]+)", RUNBOOK))
    assert named
    assert named <= commands


@pytest.mark.parametrize("arguments", ["check rules rules.yml", "test rules rules_test.yml"])
def test_promtool_is_content(arguments: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = _run(promtool, *arguments.split())
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_would_see_a_rule_that_never_fires(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    rules = tmp_path / "rules.yml"
    rules.write_text(rules.read_text().replace("(ordertrail_alert{", "(ordertrail_alerts{"))
    assert _run(promtool, "test", "rules", "rules_test.yml", where=tmp_path).returncode != 0


def _run(*command: str, where: Path = PROMETHEUS) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
