"""What is counted. Names in the Prometheus manner; ops.py shows them at /metrics."""

from prometheus_client import Counter

ACCEPTED = Counter(
    "ordertrail_messages_accepted", "Messages kept in the inbox.", ["account", "topic"]
)
REPEATED = Counter(
    "ordertrail_messages_repeated", "Messages whose body was kept already.", ["account", "topic"]
)
REFUSED = Counter(
    "ordertrail_messages_refused", "Requests refused at the door.", ["account", "reason"]
)
QUARANTINED = Counter(
    "ordertrail_messages_quarantined", "Messages that could not be read.", ["account"]
)
