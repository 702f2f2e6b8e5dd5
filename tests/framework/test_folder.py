import errno
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steelyard import folder
from steelyard.folder import State


def test_a_second_run_in_the_same_second_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    made = [folder.create(tmp_path / "outputs", "same") for _ in range(3)]
    assert [place.name for place in made] == ["same", "same-2", "same-3"]


def test_concurrent_creation_never_shares_a_folder(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        made = pool.starmap(folder.create, [(tmp_path, "same")] * 16)
    assert len(set(made)) == 16


def test_a_failed_write_leaves_the_old_file_and_no_torso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scorecard.json"
    folder.write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        folder.write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_size_limit_leaves_the_old_file_and_no_torso(tmp_path: Path) -> None:
    path = tmp_path / "scorecard.json"
    folder.write_atomically(path, b"old")
    program = (
        "import resource; from pathlib import Path; from steelyard import folder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"folder.write_atomically(Path({str(path)!r}), b'x' * 5000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_status_tells_running_from_done(tmp_path: Path) -> None:
    with folder.opened(tmp_path) as journal:
        asking = f"print(folder.status(Path({str(tmp_path)!r})).state)"
        program = f"from pathlib import Path; from steelyard import folder; {asking}"
        state = subprocess.check_output([sys.executable, "-c", program], text=True).strip()
        assert state == "running"
        journal.end(State.DONE, exit_code=0, message="done")
    found = folder.status(tmp_path)
    assert (found.state, found.exit_code, found.message, found.resumed) == (State.DONE, 0, "done", 0)
    assert found.ended is not None
    assert found.ended >= found.started


def test_status_tells_a_killed_run(tmp_path: Path) -> None:
    program = (
        "import time; from pathlib import Path; from steelyard import folder\n"
        f"with folder.opened(Path({str(tmp_path)!r})):\n    print('open', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    assert folder.status(tmp_path).state is State.RUNNING
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert folder.status(tmp_path).state is State.KILLED


def test_two_processes_never_work_in_one_folder(tmp_path: Path) -> None:
    program = (
        f"from pathlib import Path; from steelyard import folder\nwith folder.opened(Path({str(tmp_path)!r})): pass\n"
    )
    with folder.opened(tmp_path):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "another process is at work here" in done.stderr


def test_reopening_counts(tmp_path: Path) -> None:
    for _ in range(3):
        with folder.opened(tmp_path) as journal:
            journal.end(State.FAILED, exit_code=3)
    assert folder.status(tmp_path).resumed == 2


def test_the_last_words_have_their_space_in_reserve(tmp_path: Path) -> None:
    with folder.opened(tmp_path) as journal:
        assert (tmp_path / folder.RESERVE).stat().st_size == folder.RESERVED_BYTES
        journal.end(State.FAILED, exit_code=3, message="No space left on device")
    assert not (tmp_path / folder.RESERVE).exists()
    assert json.loads((tmp_path / "status.json").read_text())["message"] == "No space left on device"


def test_what_is_no_run_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        folder.status(tmp_path)


def test_times_are_in_seconds_since_the_epoch(tmp_path: Path) -> None:
    before = time.time()
    with folder.opened(tmp_path) as journal:
        journal.end(State.DONE, exit_code=0)
    assert before <= folder.status(tmp_path).started <= time.time()
