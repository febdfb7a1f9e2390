"""`genfast image`: files, their names, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from genfast.cli import main

image = pytest.importorskip("PIL.Image")
sys.path.append(str(Path(__file__).resolve().parents[1] / "images"))
import janus_cases  # noqa: E402
import tiny_model  # noqa: E402
from test_dcgan import CONFIG, tensors  # noqa: E402


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tiny_model.write_safetensors(folder / "model.safetensors", tensors(), "F32")
    return str(folder)


def test_several_images_of_a_model(directory, tmp_path, capsys):
    file = tmp_path / "two.png"
    command = ["image", directory, "1", "-n", "2", "--seed", "1", "--json", "-o", str(file)]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == [str(file), str(tmp_path / "two-2.png")] and told["seed"] == 1
    first = [image.open(path).tobytes() for path in told["files"]]
    assert first[0] != first[1]
    assert main(command) == 0
    assert [image.open(path).tobytes() for path in told["files"]] == first


def test_figures_go_to_stderr(directory, tmp_path, capsys):
    file = tmp_path / "one.png"
    assert main(["image", directory, "2", "--seed", "4", "-o", str(file)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and str(file) in captured.err and "seed 4" in captured.err


def test_a_way_from_one_seed_to_another(directory, tmp_path, capsys):
    file = tmp_path / "way.png"
    command = ["image", directory, "1", "--seed", "1", "--to-seed", "2", "-o", str(file)]
    assert main([*command, "-n", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["files"]) == 3
    assert main(["image", directory, "1", "--seed", "2", "-o", str(tmp_path / "end.png")]) == 0
    ends = [image.open(path).tobytes() for path in (told["files"][2], tmp_path / "end.png")]
    assert ends[0] == ends[1]
    assert main(command) == 2
    assert "--to-seed needs --seed, and -n of at least 2" in capsys.readouterr().err


def test_adapters_are_named_with_their_strengths(directory, tmp_path, capsys):
    lora = tmp_path / "a.safetensors"
    lora.write_bytes(b"")
    for text in (str(lora), f"{lora}:0.5"):
        assert main(["image", directory, "1", "--adapter", text]) == 1
        assert "adapters are not allowed" in capsys.readouterr().err
    assert main(["image", directory, "1", "--adapter", "nowhere:0.5"]) == 1
    assert "adapters[0]='nowhere' is neither a file nor a dir" in capsys.readouterr().err


def test_what_is_refused(directory, tmp_path, capsys):
    assert main(["image", str(tmp_path / "missing"), "3"]) == 1
    assert "no such directory" in capsys.readouterr().err
    assert main(["image", directory, "1", "--steps", "4"]) == 1
    assert "steps is not allowed" in capsys.readouterr().err
    assert main(["image"]) == 2


def test_a_model_of_text_is_no_image_model(capsys):
    from importlib.resources import files

    assert main(["image", str(files("genfast") / "data" / "default"), "a fox"]) == 2
    assert "is a model of text" in capsys.readouterr().err


def test_a_model_of_images_is_no_model_of_text(directory, capsys):
    for command in (["generate", "1"], ["chat"]):
        assert main([*command, "--model", directory]) == 2
        assert "is a model of images; see genfast image" in capsys.readouterr().err


def test_one_of_both(tmp_path, capsys):
    case = janus_cases.CASES[0]
    with np.load(case.file) as golden:
        case.write(tmp_path, json.loads(str(golden["shapes"])))
    tiny_model.write_letters(tmp_path, "abcdefgh")
    command = ["generate", "abc", "--model", str(tmp_path), "--max-tokens", "3", "--json"]
    command += ["--ignore-eos", "--guidance", "2", "--negative", "h"]
    assert main(command) == 0
    assert len(json.loads(capsys.readouterr().out)["token_ids"]) == 3
    file = tmp_path / "out.png"
    command = ["image", str(tmp_path), "abc", "--temperature", "0.5", "--top-k", "9"]
    assert main([*command, "--guidance", "2", "-o", str(file)]) == 0
    assert image.open(file).size == (8, 8)
