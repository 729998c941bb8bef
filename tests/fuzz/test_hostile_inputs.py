"""A bounded number of each kind of hostile input; `scripts/fuzz.py` runs any number of them."""

import pytest

from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import run

INPUTS = {"tables": 1500, "tars": 1000, "pictures": 1500, "folders": 500, "configurations": 600, "checkpoints": 600}


@pytest.mark.parametrize("kind", KINDS)
def test_every_input_is_accepted_or_refused_with_a_line(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    counts, found = run(kind, INPUTS[kind])
    assert not counts["escaped"] and not counts["slow"], "\n".join(found)
    assert counts["tried"] == INPUTS[kind] == counts["accepted"] + counts["refused"]
    assert min(counts["accepted"], counts["refused"]) > counts["tried"] / 50, "the generator has become one-sided"
