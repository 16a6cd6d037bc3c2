"""Work in blocks, one thread each: the same result for any number of threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch

Result = TypeVar("Result")


class Blocks:
    """Does work on rows in blocks, in order."""

    def __init__(self, pool: ThreadPoolExecutor | None, larger: int = 1) -> None:
        """Keep what is needed.

        Args:
            pool: works on several blocks at once; None: one after the other in this thread.
            larger: factor on the rows of a block, for devices that like much at once.
        """
        self._pool = pool
        self._larger = larger

    def __call__(self, work: Callable[[slice], Result], rows: int, block: int) -> list[Result]:
        """Call `work` with one slice of the rows after another.

        Args:
            work: takes a slice; of its own in each thread.
            rows: in all.
            block: rows at once on a processor.

        Returns:
            The results, in order.
        """

        def alone(part: slice) -> Result:
            with torch.inference_mode():
                return work(part)

        step = block * self._larger
        parts = (slice(i, i + step) for i in range(0, rows, step))
        return list(map(alone, parts) if self._pool is None else self._pool.map(alone, parts))


@contextmanager
def in_blocks(device: torch.device) -> Iterator[Blocks]:
    """Within, work is done by as many threads as torch had, and torch itself has one.

    Args:
        device: where the work is done; all but processors get larger blocks, one by one.
    """
    threads = torch.get_num_threads()
    on_cpu = device.type == "cpu"
    several = on_cpu and threads > 1  # handing blocks to a single thread takes time alone
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) if several else nullcontext() as pool:
            yield Blocks(pool, 1 if on_cpu else 64)
    finally:
        torch.set_num_threads(threads)
