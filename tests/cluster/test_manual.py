"""The manual's example of a dataset runs on a real cluster."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import siliconflow_async

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import RayCluster

CHAPTER = Path(siliconflow_async.__file__).parent / "batch" / "README.md"
BEFORE = """
import pyarrow.parquet
import ray

ray.init(log_to_driver=False)
rows = [{"id": str(i), "text": "Hi"} for i in range(30)]
pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "questions.parquet")
"""
AFTER = """
found = pyarrow.parquet.read_table("answered").to_pylist()
print(len(found), {row["error"] for row in found}, {row["content"][:8] for row in found})
"""


def test_the_example_of_a_dataset_runs(cluster: RayCluster, server: FakeSiliconFlow, tmp_path: Path) -> None:
    example = next(
        block
        for block in re.findall(r"^```py\n(.*?)^```$", CHAPTER.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        if "import RayLimits, ask" in block
    )
    # The actors take the environment of this program, as its job's, and run where it does.
    environment = {
        "RAY_ADDRESS": cluster.address,
        "SILICONFLOW_BASE_URL": server.base_url,
        "SILICONFLOW_API_KEY": "test-key",
        "NO_PROXY": "127.0.0.1",
    }
    before = BEFORE.replace("log_to_driver", f"runtime_env={{'env_vars': {environment!r}}}, log_to_driver")
    code = before + example.replace('"store"', f'"{tmp_path}/store"').replace('"answered"', f'"{tmp_path}/answered"')
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code.replace('"questions.parquet"', f'"{tmp_path}/questions.parquet"')
            + AFTER.replace('"answered"', f'"{tmp_path}/answered"'),
        ],
        env=cluster.env | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "30 {None} {'You said'}"
    assert len(server.requests) == 30
