"""One process per device: started here, by torchrun or by SLURM; watched, so that none outlives the others."""

from __future__ import annotations

import atexit
import os
import signal
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import wait
from queue import Empty
from typing import Any, TypeVar, cast

import torch.multiprocessing
from torch.multiprocessing.spawn import start_processes

from cryoreg import registry
from cryoreg.child_processes import safe_path
from cryoreg.config.settings import TrainingSettings
from cryoreg.errors import ConfigError, CryoregError, ProcessLostError
from cryoreg.training.signals import Interrupted, StopFlag

_MARK = "CRYOREG_RANK"
_GRACE_SECONDS = 10.0
"""So long may the others go on after one process has failed."""
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)

Result = TypeVar("Result")


def launched_processes() -> int:
    """Return how many processes torchrun, SLURM or `launch` has started for this run; 0 where none of them has."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ.get("WORLD_SIZE", "1"))
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    if tasks == 1:
        return 0
    from cryoreg.training.lightning import SLURMEnvironment

    return tasks if SLURMEnvironment.detect() else 0


def started_by_us() -> bool:
    """Tell whether `launch` has started this process."""
    return _MARK in os.environ


def processes_on_this_node(world: int) -> int:
    """Return how many of ``world`` processes share this node."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return world // int(os.environ.get("SLURM_NNODES", "1"))


def is_leader() -> bool:
    """Tell whether this is the process that writes the run's files and speaks to the user."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ.get("RANK", os.environ["LOCAL_RANK"])) == 0
    return not launched_processes() or int(os.environ["SLURM_PROCID"]) == 0


def require_equal_shares(settings: TrainingSettings, world: int) -> None:
    """Raise `ConfigError` where ``world`` processes cannot have equal parts of a batch."""
    if settings.batch_size % world:
        raise ConfigError(
            f"training.batch_size {settings.batch_size} cannot be shared equally by {world} processes; "
            f"take a multiple of {world}"
        )


def run_in_processes(function: Callable[..., Result], settings: TrainingSettings, *arguments: object) -> Result:
    """Call ``function(*arguments)`` in ``settings.devices`` processes and return what rank 0 returns.

    Where torchrun or SLURM has started the processes, or one is enough, this process calls it. Else they are spawned,
    so ``function`` and ``arguments`` must be picklable. Raises what a process raises; `ProcessLostError` names one that
    was killed, after which the others are ended within seconds; `Interrupted` where they were asked to stop.
    """
    if launched_processes() or settings.devices * settings.num_nodes == 1:
        return _ended_together(function, *arguments)
    if settings.num_nodes > 1:
        raise ConfigError(
            f"training.num_nodes is {settings.num_nodes}, and one process cannot reach other nodes; start the command "
            "on each of them with torchrun (`torchrun --nnodes ... -m cryoreg_cli pretrain ...`) or with srun"
        )
    require_equal_shares(settings, settings.devices)
    return _Group(function, arguments, settings.devices).result()


def _ended_together(function: Callable[..., Result], *arguments: object) -> Result:
    """Call the function; where it has not failed, have this process leave its group before Python ends.

    Gloo's threads, which hold tensors, would else outlive the interpreter now and then, and abort the process. After a
    failure others may still wait for this one: then its end is what tells them.
    """
    try:
        result = function(*arguments)
    except Interrupted:
        atexit.register(_leave_group)
        raise
    atexit.register(_leave_group)
    return result


def _leave_group() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class _Group:
    """The processes of one node, from start to end."""

    def __init__(self, function: Callable[..., object], arguments: tuple[object, ...], count: int) -> None:
        from cryoreg.training.lightning import find_free_network_port

        with safe_path():
            self._messages = torch.multiprocessing.get_context("spawn").Queue()
            work = (count, find_free_network_port(), self._messages, function, arguments)
            # torch's processes get a SIGINT when this one dies, and so save and stop.
            self._processes = start_processes(_work, work, count, join=False).processes
        self._asked_to_stop: int | None = None

    def result(self) -> Any:
        """Wait for all to end; return what rank 0 has handed over, or raise."""
        try:
            with StopFlag(self._forward):
                failed = self._watch()
                messages = self._read_messages()
                if failed is None:
                    return messages[0][1]
                self._end()
            raise self._explain(failed, messages | self._read_messages())
        finally:
            for process in self._processes:
                process.kill()

    def _forward(self, number: int) -> None:
        """Ask all processes to finish their step and save (which is not to be said twice with SIGINT)."""
        self._asked_to_stop = number
        for process in self._processes:
            if process.is_alive():
                process.terminate()

    def _watch(self) -> int | None:
        """Wait until all have ended, or one has failed; return the rank of that one."""
        running = {process.sentinel: rank for rank, process in enumerate(self._processes)}
        while running:
            ended = [running.pop(sentinel) for sentinel in wait(list(running))]
            for rank in ended:
                self._processes[rank].join()
            failed = [rank for rank in ended if self._exit_code(rank) != 0]
            if failed:
                return min(failed, key=self._exit_code)  # a killed one, rather than one that failed because of it
        return None

    def _exit_code(self, rank: int) -> int:
        return self._processes[rank].exitcode or 0

    def _end(self) -> None:
        """Give the others time to notice, then kill them."""
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()

    def _read_messages(self) -> dict[int, tuple[str, Any]]:
        """Return rank -> (kind, content) of what the processes have handed over."""
        found: dict[int, tuple[str, Any]] = {}
        try:
            while True:
                rank, kind, content = self._messages.get(timeout=0.5 if not found else 0.1)
                found[rank] = (kind, content)
        except Empty:
            return found

    def _explain(self, rank: int, messages: dict[int, tuple[str, Any]]) -> BaseException:
        code = self._exit_code(rank)
        if self._asked_to_stop is not None or code in _STOPPED:
            return Interrupted(self._asked_to_stop or code - 128)
        errors = [content for kind, content in messages.values() if kind == "error"]
        if code < 0:
            name = signal.Signals(-code).name
            return ProcessLostError(
                f"the process of rank {rank} (of {len(self._processes)}) was killed by {name}, so the run has ended; "
                "go on with --resume (any number of --devices will do). SIGKILL often means that memory ran out"
            )
        if errors:
            return errors[0]
        faults = [content for kind, content in messages.values() if kind == "fault"]
        kind, content = messages.get(rank, ("fault", "without a word"))
        if kind == "blamed" and not faults:
            return cast(BaseException, content)
        return RuntimeError(f"the process of rank {rank} failed:\n{content if kind == 'fault' else faults[0]}")


def _work(
    rank: int, count: int, port: int, messages: Any, function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    """Be one of the processes: call the function, and hand over what it returns or raises."""
    os.environ |= {
        **{"LOCAL_RANK": str(rank), "RANK": str(rank), "LOCAL_WORLD_SIZE": str(count), "WORLD_SIZE": str(count)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), _MARK: str(rank)},
    }
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
    try:
        messages.put((rank, "result", function(*arguments)))
    except CryoregError as error:
        messages.put((rank, "error", error))
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        blamed = registry.blamed(error, carried=True)
        messages.put((rank, "blamed", blamed) if blamed else (rank, "fault", traceback.format_exc()))
        raise SystemExit(1) from None
