"""The queue of keys: order, overflow, persistence and gathering over processes."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torch import Tensor

from cryoreg.methods.queue import Queue
from cryoreg.testing.elsewhere import on_two_ranks


def numbered(first: int, count: int) -> Tensor:
    """Return ``count`` keys that show their number."""
    return torch.arange(first, first + count, dtype=torch.float32)[:, None].expand(-1, 2)


def contents(queue: Queue) -> list[int]:
    """Return the numbers of the keys from the oldest to the newest."""
    return queue.keys.roll(-int(queue.pointer), dims=0)[:, 0].int().tolist()


def test_queue_starts_with_random_unit_vectors():
    queue = Queue(100, 16)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(100))
    assert queue.keys.unique(dim=0).shape == (100, 16)
    assert abs(queue.keys.mean()) < 0.05


def test_queue_wraps_around_first_in_first_out():
    queue = Queue(5, 2)
    queue.enqueue(numbered(0, 5))
    queue.enqueue(numbered(5, 3))
    assert queue.keys[:, 0].tolist() == [5, 6, 7, 3, 4]
    queue.enqueue(numbered(8, 3))
    assert queue.keys[:, 0].tolist() == [10, 6, 7, 8, 9]
    assert queue.pointer == 1


@pytest.mark.parametrize("batches", [[3] * 9, [7], [7, 7], [1, 20, 2], [5, 5], [4, 6, 0, 3]], ids=str)
def test_queue_keeps_the_latest_keys_like_a_bounded_deque(batches):
    queue, reference, sent = Queue(5, 2), deque(maxlen=5), 0
    queue.enqueue(numbered(-5, 5))
    reference.extend(range(-5, 0))
    for size in batches:
        queue.enqueue(numbered(sent, size))
        reference.extend(range(sent, sent + size))
        sent += size
        assert contents(queue) == list(reference)


def test_queue_sets_keys_aside_until_asked():
    queue = Queue(4, 2)
    before = queue.keys.clone()
    given, negatives = queue(numbered(0, 3), update=True)
    queue(numbered(3, 1), update=True)
    queue(numbered(9, 4), update=False)
    assert torch.equal(given, numbered(0, 3))
    assert torch.equal(negatives, before.T)
    assert torch.equal(queue.keys, before)
    queue.enqueue_pending()
    assert contents(queue) == [0, 1, 2, 3]
    queue.enqueue_pending()
    assert contents(queue) == [0, 1, 2, 3]


def test_queue_returns_a_copy_that_later_keys_do_not_change():
    queue = Queue(4, 2)
    query = torch.randn(3, 2, requires_grad=True)
    _, negatives = queue(numbered(0, 3))
    expected = negatives.sum(dim=1).clone()
    loss = (query @ negatives).sum()
    queue.enqueue(numbered(0, 4))
    loss.backward()
    torch.testing.assert_close(query.grad, expected.expand(3, -1))


def test_queue_takes_keys_without_their_gradient_or_precision():
    queue = Queue(4, 2)
    queue(numbered(0, 4).bfloat16().requires_grad_(), update=True)
    queue.enqueue_pending()
    assert queue.keys.dtype == torch.float32
    assert not queue.keys.requires_grad
    assert contents(queue) == [0, 1, 2, 3]


def test_queue_state_round_trip():
    queue, other = Queue(5, 2), Queue(5, 2)
    queue.enqueue(numbered(0, 7))
    assert set(queue.state_dict()) == {"keys", "pointer"}
    other.load_state_dict(queue.state_dict())
    queue.enqueue(numbered(7, 2))
    other.enqueue(numbered(7, 2))
    assert contents(other) == contents(queue) == [4, 5, 6, 7, 8]


def enqueue_on_rank(rank: int) -> list[int]:
    queue = Queue(6, 2)
    queue.keys.zero_()
    for step in range(2):  # rank 0 has keys 0 1 | 4 5, rank 1 has 2 3 | 6 7
        queue(numbered(4 * step + 2 * rank, 2), update=True)
    queue.enqueue_pending()
    return contents(queue)


@pytest.mark.slow
def test_queue_gathers_the_keys_of_all_processes():
    assert on_two_ranks(enqueue_on_rank) == [[2, 3, 4, 5, 6, 7]] * 2
