"""The Kubernetes manifests: built by kustomize, read by the API's own schemas, held to the code."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped] # it is there for the description's tools
from flask.testing import FlaskClient

from receiver.settings import GENERAL
from receiver.standalone.launch import read_procfile
from tests.conftest import API_TOKEN
from tests.service import ROOT

DIRECTORY = ROOT / "deploy" / "kubernetes"
COMPONENTS = ("release", "web", "worker", "clock")
# The oldest and the newest that the schemas at hand know well.
VERSIONS = ("1.31", "1.35")


def objects() -> list[Any]:
    """All that kustomization.yaml names; through kustomize itself where it is there."""
    kubectl = shutil.which("kubectl")
    if kubectl is not None:
        done = subprocess.run(
            [kubectl, "kustomize", str(DIRECTORY)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))
    told = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text(encoding="utf-8"))
    texts = [(DIRECTORY / name).read_text(encoding="utf-8") for name in told["resources"]]
    return [it for text in texts for it in yaml.safe_load_all(text)]


@pytest.fixture(scope="module")
def manifests() -> list[Any]:
    return objects()


def of_kind(manifests: list[Any], *kinds: str) -> dict[str, Any]:
    return {it["metadata"]["name"]: it for it in manifests if it["kind"] in kinds}


@pytest.fixture(scope="module")
def pods(manifests: list[Any]) -> dict[str, Any]:
    return {
        name: it["spec"]["template"]["spec"]
        for name, it in of_kind(manifests, "Deployment", "Job").items()
    }


def test_kustomize_builds_them() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl to be built as well as read (their content is checked here)")
    assert len(objects()) >= 15


@pytest.mark.parametrize("version", VERSIONS)
def test_they_are_what_the_api_takes(manifests: list[Any], version: str) -> None:
    for it in manifests:
        kubernetes_validate.validate(it, version, strict=True)


def test_that_check_sees_what_is_wrong(manifests: list[Any]) -> None:
    for it in of_kind(manifests, "Deployment").values():
        spoilt = {**it, "spec": {**it["spec"], "replcas": 2}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(spoilt, VERSIONS[-1], strict=True)


def test_pods_run_the_procfiles_lines(pods: dict[str, Any]) -> None:
    assert sorted(pods) == sorted(COMPONENTS)
    commands = read_procfile(ROOT / "Procfile")
    for name, pod in pods.items():
        (container,) = pod["containers"]
        command = container.get("command")
        # Web is what the image runs by itself (test_container.py).
        expected = None if name == "web" else commands[name]
        if command is not None:
            command = [sys.executable if word == "python" else word for word in command]
        assert command == expected


def test_pods_may_do_little(pods: dict[str, Any]) -> None:
    """What the namespace's `restricted` asks for, and no token of the cluster's API."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    for pod in pods.values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert f"USER {pod['securityContext']['runAsUser']}:" in dockerfile
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_web_is_asked_where_it_answers(manifests: list[Any], pods: dict[str, Any]) -> None:
    (web,) = pods["web"]["containers"]
    (port,) = web["ports"]
    (settings,) = [
        it["data"] for name, it in of_kind(manifests, "ConfigMap").items() if "settings" in name
    ] or [{"PORT": "8000", "HOST": "0.0.0.0"}]  # noqa: S104 (without kustomize it is not made)
    assert settings.keys() - {"WEB_CONCURRENCY"} <= GENERAL.fields.keys()
    assert str(port["containerPort"]) == settings["PORT"]
    paths = {web[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness")}
    assert paths == {"/livez"}
    assert web["readinessProbe"]["httpGet"]["path"] == "/readyz"
    ops = (ROOT / "receiver" / "web" / "health.py").read_text(encoding="utf-8")
    assert all(f'"{path}"' in ops for path in ("/livez", "/readyz"))
    service = of_kind(manifests, "Service")["web"]["spec"]
    assert service["ports"][0]["targetPort"] == port["name"]


def test_a_worker_or_clock_that_hangs_is_restarted(pods: dict[str, Any]) -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    (path,) = re.findall(r"PROGRESS_PATH=(\S+)", dockerfile)
    for name in ("worker", "clock"):
        (container,) = pods[name]["containers"]
        assert container["livenessProbe"]["exec"]["command"] == ["ordertrail", "alive"]
        assert str(Path(path).parent) in [it["mountPath"] for it in container["volumeMounts"]]


def test_a_pod_has_longer_to_end_than_its_process_takes(pods: dict[str, Any]) -> None:
    settings = (ROOT / "deploy" / "gunicorn.conf.py").read_text(encoding="utf-8")
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)$", settings, re.MULTILINE)
    (web,) = pods["web"]["containers"]
    waits = int(web["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pods["web"]["terminationGracePeriodSeconds"] > int(graceful) + waits


def test_the_autoscaler_names_a_metric_that_there_is(
    manifests: list[Any], client: FlaskClient
) -> None:
    (metric,) = of_kind(manifests, "HorizontalPodAutoscaler")["worker"]["spec"]["metrics"]
    name = metric["external"]["metric"]["name"]
    token = {"Authorization": f"Bearer {API_TOKEN}"}
    assert f"\n{name} " in client.get("/metrics", headers=token).text


def test_budgets_and_policies_find_their_pods(manifests: list[Any]) -> None:
    labels = {
        name: it["spec"]["template"]["metadata"]["labels"]
        for name, it in of_kind(manifests, "Deployment", "Job").items()
    }
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert sorted(budgets) == ["web", "worker"]
    selectors = [it["spec"]["selector"] for it in budgets.values()]
    selectors += [it["spec"]["podSelector"] for it in of_kind(manifests, "NetworkPolicy").values()]
    for selector in selectors:
        wanted = selector.get("matchLabels", {}).items()
        assert any(wanted <= found.items() for found in labels.values())
    for name, it in of_kind(manifests, "Deployment").items():
        assert it["spec"]["selector"]["matchLabels"].items() <= labels[name].items()


def test_prometheus_operator_finds_the_pods_and_the_rules_their_job(
    manifests: list[Any], pods: dict[str, Any]
) -> None:
    monitor = yaml.safe_load((DIRECTORY / "podmonitor.yaml").read_text(encoding="utf-8"))["spec"]
    labels = of_kind(manifests, "Deployment")["web"]["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    (container,) = pods["web"]["containers"]
    assert endpoint["port"] in [port["name"] for port in container["ports"]]
    assert endpoint["authorization"]["credentials"]["key"] in GENERAL.fields
    (job,) = [it["replacement"] for it in endpoint["relabelings"] if it["targetLabel"] == "job"]
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'job="(\w+)"', rules)) == {job}


def test_alerts_can_leave_and_the_shop_can_enter(manifests: list[Any]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    outside = policies["outside"]["spec"]
    (expression,) = outside["podSelector"]["matchExpressions"]
    assert sorted(expression["values"]) == ["clock", "worker"]
    (rule,) = outside["egress"]
    # https and mail, to the internet of both kinds.
    assert {port["port"] for port in rule["ports"]} == {443, 465, 587}
    assert {it["ipBlock"]["cidr"] for it in rule["to"]} == {"0.0.0.0/0", "::/0"}
    (rule,) = policies["web"]["spec"]["ingress"]
    wanted = [it["namespaceSelector"]["matchLabels"] for it in rule["from"]]
    assert {"ordertrail-client": "true"} in wanted


def test_web_processes_fit_the_memory_on_a_node_of_any_size(pods: dict[str, Any]) -> None:
    text = (DIRECTORY / "kustomization.yaml").read_text(encoding="utf-8")
    (processes,) = re.findall(r"WEB_CONCURRENCY=(\d+)", text)
    (web,) = pods["web"]["containers"]
    # 110 MB each once warm; a reload has twice as many.
    assert web["resources"]["limits"]["memory"] == "1Gi"
    assert 2 * int(processes) * 110 < 1024


def test_there_is_one_clock(manifests: list[Any]) -> None:
    assert of_kind(manifests, "Deployment")["clock"]["spec"]["replicas"] == 1
