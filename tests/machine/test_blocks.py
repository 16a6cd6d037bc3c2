"""Work in blocks: every row once, in order, and torch's threads as they were."""

import pytest
import torch

from singleimage.machine.blocks import in_blocks

COUNTS = pytest.mark.parametrize("count", [1, 3])


@COUNTS
def test_every_row_is_worked_on_once_and_results_come_in_order(count: int, threads: int) -> None:
    torch.set_num_threads(count)
    with in_blocks(torch.device("cpu")) as run:
        found = run(lambda rows: torch.arange(10)[rows], 10, 3)
    assert [len(part) for part in found] == [3, 3, 3, 1]
    assert torch.cat(found).tolist() == list(range(10))


@COUNTS
def test_torch_has_one_thread_within_and_its_own_after(count: int, threads: int) -> None:
    torch.set_num_threads(count)
    with in_blocks(torch.device("cpu")):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == count
