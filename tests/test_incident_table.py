"""Each incident of the research is played, by an incident of `make incidents` or by a test."""

from tests.incidents.research import RESEARCH
from tests.incidents.table import INCIDENTS
from tests.service import ROOT


def test_each_incident_of_the_research_is_played() -> None:
    names = {incident.name for incident in INCIDENTS}
    assert len(names) == len(INCIDENTS)
    played_by = {name for one in RESEARCH for name in one.played_by}
    tests = {name for one in RESEARCH for name in one.tests}
    assert played_by - tests == names
    assert [name for name in tests if not (ROOT / name).is_file()] == []
