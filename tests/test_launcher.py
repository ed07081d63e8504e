# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The launcher on small real process trees; neither ray nor verl is needed."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from verl_mapo import launcher
from verl_mapo.settings import ConfigError

SUPPORT = Path(__file__).parent / "support"
IMPORTS = "import os, signal, subprocess, sys, time\nfrom children import start, watched\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Short intervals, and a file that grows whenever the launcher has looked at all processes."""
    monkeypatch.setattr(launcher, "POLL_S", 0.05)
    monkeypatch.setattr(launcher, "ENDING_S", 3.0)
    looks, update = tmp_path / "looks", launcher.ProcessTree.update
    looks.touch()

    def update_and_tell(tree: launcher.ProcessTree) -> None:
        update(tree)
        with looks.open("a") as file:
            file.write(".")

    monkeypatch.setattr(launcher.ProcessTree, "update", update_and_tell)
    monkeypatch.setenv("LOOKS", str(looks))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]))


def supervise(code: str, *, log: Path | None = None, timeout_s: float | None = None, grace_s: float = 0.5) -> int:
    command = [sys.executable, "-c", IMPORTS + textwrap.dedent(code)]
    return launcher.supervise(command, timeout_s=timeout_s, env=os.environ, log=log, grace_s=grace_s)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that was killed needs the processor once more for that."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for _ in range(1000):
            if process.status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(0.01)
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def pids_in(text: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"started (\d+)", text)]


@pytest.mark.parametrize(("ending", "code"), [("sys.exit(0)", 0), ("sys.exit(3)", 3), ("os.abort()", 128 + 6)])
def test_run_that_ends_returns_its_code_and_its_output(ending: str, code: int, tmp_path: Path, capfd) -> None:
    log = tmp_path / "new" / "train.log"
    said = "print('step 1', flush=True); print('warned', file=sys.stderr, flush=True)"
    assert supervise(f"{said}; {ending}", log=log) == code
    assert "step 1\nwarned\n" in log.read_text()
    assert capfd.readouterr().out == log.read_text()


def test_driver_that_is_killed_is_named_with_the_signal(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    assert supervise("print(os.getpid(), flush=True); os.kill(os.getpid(), 9)", log=log) == 128 + 9
    pid, sentence = log.read_text().splitlines()
    assert sentence.startswith(f"verl-mapo: verl's driver (pid {pid}) was killed by SIGKILL, as the kernel does")


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_driver_ends_when_the_launcher_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    driver = "import os, time; print('started', os.getpid(), flush=True); time.sleep(3600)"
    program = f"""
        import os, sys
        from pathlib import Path
        from verl_mapo.launcher import supervise
        supervise([sys.executable, "-c", {driver!r}], env=os.environ, log=Path({str(log)!r}))
    """
    running = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.DEVNULL)
    while not (log.exists() and pids_in(log.read_text())):
        assert running.poll() is None
        time.sleep(0.05)
    running.kill()
    running.wait()
    assert all(gone(pid) for pid in pids_in(log.read_text()))


def test_dead_worker_is_named_when_the_driver_keeps_waiting(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    code = supervise(
        """
        engine = start("VLLM::EngineCore")
        worker = start("ray::WorkerDict")
        print("started", engine.pid, flush=True)
        watched()
        worker.kill()
        worker.wait()
        print("killed", worker.pid, flush=True)
        time.sleep(3600)
        """,
        log=log,
    )
    text = log.read_text()
    killed = re.search(r"killed (\d+)", text).group(1)
    assert code == launcher.WORKER_DIED
    assert f"stopped: ray::WorkerDict (pid {killed}) died, and verl was still waiting" in text.splitlines()[-1]
    assert all(gone(pid) for pid in pids_in(text))


@pytest.mark.parametrize(("name", "named"), [("ray::WorkerDict", True), ("ray::SimpleStorageUnit", False)])
def test_driver_that_fails_within_the_grace_period_keeps_its_code(
    name: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "SHUTDOWN_S", 0.0)
    log = tmp_path / "train.log"
    code = supervise(
        f"""
        worker = start({name!r})
        watched()
        worker.kill()
        worker.wait()
        watched()
        sys.exit(7)
        """,
        log=log,
        grace_s=3600,
    )
    assert code == 7
    assert ("verl failed after ray::WorkerDict (pid " in log.read_text()) is named


def test_process_that_is_not_needed_may_end() -> None:
    code = "idle = start('ray::IDLE'); watched(); idle.kill(); idle.wait(); watched(), watched()"
    assert supervise(code, grace_s=0) == 0


def test_forked_child_with_the_name_of_an_actor_may_end() -> None:
    code = """
    child = "from children import watched; import os, time; os.fork() or (watched(), os._exit(0)); os.wait(); "
    start("ray::TaskRunner", child + "open(os.environ['LOOKS'] + '.forked', 'w'); time.sleep(3600)")
    while not os.path.exists(os.environ["LOOKS"] + ".forked"):
        time.sleep(0.02)
    watched(), watched()
    """
    assert supervise(code, grace_s=0) == 0


@pytest.mark.parametrize(
    ("parent", "name", "fork"),
    [
        ("ray::TaskRunnerV1.run", "ray::TaskRunnerV1.run", True),
        ("ray::TaskRunnerV1.run", "ray::TaskRunner", True),  # it is ending, and its command line is gone
        ("ray::AgentLoopWorkerTQ", "ray::AgentLoopW", True),
        ("raylet", "ray::TaskRunner", False),
    ],
)
def test_fork_is_told_by_the_name_of_its_parent_as_far_as_the_kernel_keeps_it(
    parent: str, name: str, fork: bool
) -> None:
    process = SimpleNamespace(parent=lambda: SimpleNamespace(name=lambda: parent))
    assert launcher._is_fork(process, name) is fork


def test_process_that_is_needed_may_not_end() -> None:
    """The counterpart of the two tests above: without a grace period, the launcher draws its conclusion meanwhile."""
    code = "worker = start('ray::WorkerDict'); watched(); worker.kill(); worker.wait(); watched(), watched()"
    assert supervise(code, grace_s=0) == launcher.WORKER_DIED


def test_timeout_names_its_setting_and_ends_the_tree(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    for timeout_s in (1.5, 15.0, 150.0):  # a busy machine needs longer to start the child that is to be ended
        code = supervise(
            """
            ignore = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); "
            stubborn = start("ray::WorkerDict", ignore + "time.sleep(3600)")
            print("started", stubborn.pid, flush=True)
            time.sleep(3600)
            """,
            log=log,
            timeout_s=timeout_s,
        )
        text = log.read_text()
        assert code == launcher.TIMED_OUT
        assert f"timeout_s={timeout_s:g}." in text.splitlines()[-1]
        assert all(gone(pid) for pid in pids_in(text))
        if "ready" in text and "started" in text:
            return
    pytest.fail("the child did not start")


def test_orphan_of_the_session_is_ended_and_a_process_outside_is_not(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    outsider = subprocess.Popen(
        [sys.executable, "-c", "open('/proc/self/comm', 'w').write('ray::WorkerDict'); import time; time.sleep(3600)"]
    )
    try:
        code = supervise(
            """
            nested = "from children import start; print('started', start('raylet').pid, flush=True)"
            subprocess.run([sys.executable, "-c", nested])
            """,
            log=log,
        )
        assert code == 0
        assert len(pids_in(log.read_text())) == 1
        assert all(gone(pid) for pid in pids_in(log.read_text()))
        assert outsider.poll() is None
    finally:
        outsider.kill()
        outsider.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_launcher_ends_the_tree(number: int, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    driver = IMPORTS + "print('started', start('raylet').pid, flush=True); time.sleep(3600)"
    program = f"""
        import os, signal, sys
        from pathlib import Path
        from verl_mapo.launcher import supervise
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, the child would inherit the ignored signal
        command = [sys.executable, "-c", {driver!r}]
        sys.exit(supervise(command, timeout_s=3600, env=os.environ, log=Path({str(log)!r})))
    """
    running = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.DEVNULL)
    try:
        while not (log.exists() and pids_in(log.read_text())):
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(number)
        assert running.wait() == 128 + number
    finally:
        running.kill()
    assert f"stopped by {signal.Signals(number).name}" in log.read_text()
    assert all(gone(pid) for pid in pids_in(log.read_text()))


def test_time_limit_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="timeout_s=0 must be positive"):
        supervise("", timeout_s=0)
