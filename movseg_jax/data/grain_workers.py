"""Processes that read ahead.

They are new processes (not forked), so threads and devices of their parent do no harm.
They import this package and grain, which imports JAX if it is there, but never start
one of its backends, so they take no accelerator's memory. They import the main script,
too. They end with their `Reader`, or when their parent is gone, however it went.
"""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from absl import flags
from grain.python import SharedMemoryArray

from movseg_jax.system.signals import kept_from_children
from movseg_jax.system.workers import serve_parent

# Smaller arrays are sent through a pipe, in bytes.
MIN_SHARED = 2**16


class Reader(Iterator[Any]):
    """The elements of a data set in order, read ahead.

    Args:
        elements: What is read; a worker makes one element at a time.
        workers: How many processes read; with 0, a thread of this process does.
        prefetch: How many elements each worker has ready in shared memory, and as many
            again wait in this process; it works on one more.

    After an error there is no next element; it still has to be closed.

    Raises:
        RuntimeError: A worker died.
    """

    def __init__(self, elements: grain.MapDataset, workers: int, prefetch: int):
        if not flags.FLAGS.is_parsed():  # grain hands them on to its workers.
            flags.FLAGS.mark_as_parsed()
        if not workers:
            threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)
            self._iterator = iter(elements.to_iter_dataset(threads))
            return
        # A worker does nothing else, so it needs no threads.
        no_threads = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        shared = grain.experimental.WithOptionsIterDataset(
            elements.to_iter_dataset(no_threads),
            grain.experimental.DatasetOptions(min_shm_size=MIN_SHARED),
        )
        options = grain.MultiprocessingOptions(workers, prefetch)
        self._iterator = iter(shared.mp_prefetch(options, worker_init_fn=_begin))

    def __next__(self) -> Any:
        try:
            with kept_from_children():  # They are started when they are needed first.
                return _copy(next(self._iterator))
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            raise RuntimeError(
                f"A process that reads data died: {error} If memory ran out (/dev/shm "
                "holds batches, too), lower DataConfig.workers or prefetch."
            ) from error

    def close(self) -> None:
        """Ends the workers and frees what they have read."""
        self._iterator.close()
        # Shared memory is freed by a thread, in turn. Whatever it has not freed when
        # Python ends is reported as leaked, so wait for it.
        freeing = getattr(SharedMemoryArray, "_del_thread_pool", None)
        if freeing is not None:
            freeing.apply(int)


def _copy(element):
    """The element in this process's own memory; the shared memory can be freed."""
    if isinstance(element, SharedMemoryArray):
        return np.array(element)
    if isinstance(element, tuple) and hasattr(element, "_fields"):
        return type(element)(*map(_copy, element))
    return element


def _begin(index: int, count: int) -> None:
    """Called first in every worker process."""
    del index, count
    serve_parent()
