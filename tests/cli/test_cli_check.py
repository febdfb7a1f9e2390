"""`genfast check` and `genfast replay`, on the bundled model."""

from __future__ import annotations

import json

from genfast.cli import main


def test_check_invariance(capsys):
    assert main(["check", "--invariance", "--json"]) == 0
    out = capsys.readouterr()
    rows = [json.loads(line) for line in out.out.splitlines()]
    assert len(rows) == 54 and all(row["same"] for row in rows)
    assert {row["source"] for row in rows} == {"cold", "prefix hit", "from a file"}
    assert out.err.strip() == "54 of 54 gave the same bits"


def test_check_needs_to_be_told_what(capsys):
    assert main(["check"]) == 2
    assert "--invariance" in capsys.readouterr().err


def test_a_receipt_replays(tmp_path, capsys):
    file = str(tmp_path / "receipt.json")
    args = ["--max-tokens", "12", "--temperature", "0.8", "--receipt", file]
    assert main(["generate", "It was a dark and", *args]) == 0
    assert main(["replay", file]) == 0
    assert "all 12 steps are the same" in capsys.readouterr().out

    receipt = json.loads((tmp_path / "receipt.json").read_text())
    receipt["digests"][7] = "0" * 16
    (tmp_path / "receipt.json").write_text(json.dumps(receipt))
    assert main(["replay", file, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["first_difference"] == 7


def test_no_receipt(tmp_path, capsys):
    assert main(["replay", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err
