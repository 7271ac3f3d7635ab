"""Worker processes of grain, which read a data set ahead of training.

`system.workers` does a finite list of tasks in any order and sends results through
pipes. Training needs an endless stream in a fixed order, a bounded number of elements
ahead, and batches of many megabytes in shared memory; grain has all of this. What the
two have in common is in `system`: the handling of signals, and `serve_parent`.

The processes are spawned, not forked, so threads and devices of their parent do no
harm. They import the main script, this package and grain, which imports JAX if it is
installed. They never start a backend of JAX, so they take no accelerator's memory. They
end with their `Reader`, or when their parent ends, even if it is killed.
"""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from absl import flags
from grain.python import SharedMemoryArray

from movseg_jax.system.signals import kept_from_children
from movseg_jax.system.workers import serve_parent

MIN_SHARED = 2**16  # Bytes; smaller arrays are sent through a pipe.


class Reader(Iterator[Any]):
    """An iterator over the elements of a data set, which it reads ahead.

    After an error there is no next element, but it still has to be closed.

    Args:
        elements: The data set; a worker makes one element at a time.
        workers: The number of processes that read; 0 reads in a thread of this one.
        prefetch: The number of elements that each worker has ready in shared memory, in
            addition to the one that it works on; as many again wait in this process.

    Raises:
        RuntimeError: A worker died.
    """

    def __init__(self, elements: grain.MapDataset, workers: int, prefetch: int):
        if not flags.FLAGS.is_parsed():  # grain passes absl's flags to its workers.
            flags.FLAGS.mark_as_parsed()
        if not workers:
            threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)
            self._iterator = iter(elements.to_iter_dataset(threads))
            return
        # A worker process does nothing else, so it needs no threads.
        no_threads = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        shared = grain.experimental.WithOptionsIterDataset(
            elements.to_iter_dataset(no_threads),
            grain.experimental.DatasetOptions(min_shm_size=MIN_SHARED),
        )
        options = grain.MultiprocessingOptions(workers, prefetch)
        self._iterator = iter(shared.mp_prefetch(options, worker_init_fn=_begin))

    def __next__(self) -> Any:
        try:
            with kept_from_children():  # The first element starts the workers.
                return _copy(next(self._iterator))
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            raise RuntimeError(
                f"A process that reads data died: {error} If memory ran out (/dev/shm "
                "holds batches, too), lower DataConfig.workers or prefetch."
            ) from error

    def close(self) -> None:
        """Ends the workers and frees the elements that they have read."""
        self._iterator.close()
        # A thread frees shared memory. Whatever it has not freed when Python ends is
        # reported as leaked, so an empty task at the end of its queue is waited for.
        freeing = getattr(SharedMemoryArray, "_del_thread_pool", None)
        if freeing is not None:
            freeing.apply(int)


def _copy(element):
    """Copies an element out of shared memory, which can then be freed."""
    if isinstance(element, SharedMemoryArray):
        return np.array(element)
    if isinstance(element, tuple) and hasattr(element, "_fields"):
        return type(element)(*map(_copy, element))
    return element


def _begin(index: int, count: int) -> None:
    """Prepares a worker process; grain calls it first."""
    del index, count
    serve_parent()
