"""Files that appear whole or not at all."""

import os
import subprocess
import sys
import time

import pytest

from genfast.atomic_file import written_whole


def test_readers_see_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "deep" / "file.bin"
    with written_whole(path) as file:
        file.write(b"old")
    with written_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file.bin"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), written_whole(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path):
    path = tmp_path / "file[1].bin"
    code = (
        "import os, sys; from pathlib import Path; from genfast.atomic_file import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as file: os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (left,) = tmp_path.iterdir()
    hour_ago = time.time() - 3600
    os.utime(left, (hour_ago, hour_ago))
    with written_whole(path) as file:
        (own,) = tmp_path.iterdir()
        os.utime(own, (hour_ago, hour_ago))
        with written_whole(path):  # one that lives keeps its file, however old
            assert own.exists()
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["file[1].bin"]
