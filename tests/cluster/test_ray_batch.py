"""A batch on two machines, one of which is killed while it works."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pytest

import genfast
from genfast.batch import Results, Row, read_rows

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

from genfast.ray import answers  # noqa: E402

ROWS, TOKENS = 112, 8
MEMORY = 100 << 20  # of a machine's object store


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {"num_cpus": 2, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_a_killed_machine_loses_no_row_and_repeats_none(cluster, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [{"prompt": f"Number {n}", "max_tokens": TOKENS} for n in range(ROWS)]
    lines[7] = {"prompt": 5}
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    doomed = cluster.add_node(num_cpus=2, object_store_memory=MEMORY)
    cluster.wait_for_nodes()
    load = {"threads": 1, "kv_cache_bytes": 1 << 27}
    seen: Counter[int] = Counter()
    killed = False
    with Results(target) as results:
        # Three actors do not fit on the head: one at least is on the machine that dies.
        for result in answers(load, read_rows(source), {}, replicas=3):
            results.write(result)
            seen[result["row"]] += 1
            if not killed and len(seen) >= 16:
                cluster.remove_node(doomed, allow_graceful=False)
                cluster.add_node(num_cpus=2, object_store_memory=MEMORY)  # as a cluster would
                killed = True
    written = [json.loads(line) for line in target.read_text().splitlines()]
    rows = sorted(result["row"] for result in written)
    repeated = sum(seen.values()) - len(seen)
    print(f"rows in {ROWS}, rows out {len(rows)}, lost {ROWS - len(set(rows))}, twice {repeated}")
    assert killed
    assert rows == list(range(ROWS))
    assert [result["row"] for result in written if "error" in result] == [7]
    with genfast.load() as model:
        for result in written[:: ROWS // 8]:
            if "error" not in result:
                row = result["row"]
                alone = model.generate(f"Number {row}", max_tokens=TOKENS, seed=row)
                assert result["text"] == alone.text


def test_rows_travel_whole(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "é\\ud83d\\ude00"}\nno\n')
    for row in read_rows(source):
        assert Row(**json.loads(json.dumps(dataclasses.asdict(row)))) == row
