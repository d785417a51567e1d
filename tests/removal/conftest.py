import pytest
from removal_events import Office


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path)
