"""A bucket in memory, whose process can be killed between two writes."""

import functools

import fsspec

from movseg_jax.system import buckets


class Killed(BaseException):
    """Ends a run as if its process were killed: nothing in the package catches it."""


class MemoryBucket:
    """The bucket "memory://bucket"; after `left` writes and removals, it kills."""

    def __init__(self, monkeypatch):
        self.files = fsspec.filesystem("memory")
        self.left = None
        monkeypatch.setitem(buckets.SCHEMES, "memory", "gcs")
        monkeypatch.setattr(buckets, "WORKERS", 1)  # So that writes can be counted.
        for name in ("pipe_file", "put_file", "rm_file"):
            monkeypatch.setattr(self.files, name, self._counted(name))

    def _counted(self, name):
        call = getattr(self.files, name)

        @functools.wraps(call)
        def counted(*args, **kwargs):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Killed
            return call(*args, **kwargs)

        return counted

    def content(self, folder):
        root = f"/bucket/{folder}/"
        return {
            path.removeprefix(root): self.files.cat_file(path)
            for path in self.files.find(root)
        }

    def clear(self):
        self.files.store.clear()
        self.files.pseudo_dirs[:] = [""]
