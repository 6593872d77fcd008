"""How many examples Hypothesis tries, by HYPOTHESIS_PROFILE: few by default, `ci`, or `long`."""

import os

from hypothesis import HealthCheck, settings

# No deadline: a test machine that is busy elsewhere is no defect of ours.
COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("default", COMMON, max_examples=30)
settings.register_profile("ci", COMMON, max_examples=150)
settings.register_profile("long", COMMON, max_examples=5_000)
# The same examples for every mutant, and none that another mutant has left behind.
settings.register_profile("mutation", COMMON, max_examples=30, database=None, derandomize=True)


def load() -> None:
    """Load the profile that HYPOTHESIS_PROFILE names."""
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(share: float) -> settings:
    """A share of the profile's examples, for a property whose every example costs milliseconds."""
    return settings(max_examples=max(1, round(settings().max_examples * share)))
