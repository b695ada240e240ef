"""hitl_fast.energy costs nothing beyond its parts."""

import pytest
from test_imports import loaded_by

HEAVY = {"torch", "numba", "triton", "numpy", "matplotlib", "pyarrow", "pynvml", "lightning", "transformers"}


@pytest.mark.parametrize(
    "statement",
    [
        "import hitl_fast.energy",
        "import hitl_fast; hitl_fast.EnergyMeter",
        "import hitl_fast.integrations; hitl_fast.integrations.trainer_callback",
        "import hitl_fast.energy.command",
        "from hitl_fast.energy import EnergyMeter\n"
        "with EnergyMeter(rapl_root='/none', gpus='none') as meter, meter.window('w'): pass\n"
        "str(meter.report()), meter.to_json()",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    # The report goes to standard output of another process; only names of modules are looked at.
    assert not loaded_by(statement) & HEAVY
