"""Mark the metrics of test accounts by the label `test`, so that rules and graphs leave them out.

The other accounts' metrics have no such label, which Prometheus takes for an empty one.
"""

from collections.abc import Collection, Iterator
from copy import copy

from prometheus_client import CollectorRegistry, Metric

LABEL = {"test": "true"}


class LabelledRegistry(CollectorRegistry):
    """The metrics of another registry, those of these accounts with the label."""

    def __init__(self, registry: CollectorRegistry, accounts: Collection[str]) -> None:
        super().__init__()
        self._registry, self._accounts = registry, accounts

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            marked = copy(metric)
            marked.samples = [
                sample._replace(labels={**sample.labels, **LABEL})
                if sample.labels.get("account") in self._accounts
                else sample
                for sample in metric.samples
            ]
            yield marked
