"""Work given to another process: it is done there where there is one, and here where that ends."""

from __future__ import annotations

import os
import signal
from statistics import median

import loky
import pytest
import torch

from cryoreg.beside import Beside, beside


@pytest.fixture(scope="module")
def other():
    with loky.ProcessPoolExecutor(1) as executor:
        yield Beside(executor)


def test_it_is_done_in_the_other_process(other):
    ask = other.ask(os.getpid)
    assert ask() != os.getpid()
    assert other.ask(median, [3, 1, 2])() == 2


def test_what_it_raises_is_raised_here(other):
    with pytest.raises(ZeroDivisionError):
        other.ask(divmod, 1, 0)()


def test_without_another_process_it_is_done_here_when_it_is_wanted():
    assert Beside().ask(os.getpid)() == os.getpid()


def test_what_a_process_that_was_killed_had_to_do_is_done_here():
    with loky.ProcessPoolExecutor(1) as executor:
        dying = Beside(executor)
        pid = dying.ask(os.getpid)()
        ask = dying.ask(median, [3, 1, 2])
        os.kill(pid, signal.SIGKILL)
        assert ask() == 2
        assert dying.ask(median, [5, 4, 6])() == 5


def test_no_process_is_started_for_what_is_imported_already():
    with beside("os", "statistics") as here:
        assert here.ask(os.getpid)() == os.getpid()


def test_a_core_is_left_to_the_other_process(other):
    threads = torch.get_num_threads()
    with other.spared():
        assert torch.get_num_threads() == max(1, threads - 1)
    with Beside().spared():
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == threads
