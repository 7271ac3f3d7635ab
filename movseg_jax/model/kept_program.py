"""Keeps the traced detector on disk, so that a new process detects two seconds earlier.

JAX keeps compiled programs on disk, but it can look for one only when it has the
program. For that, each process traces the detector in Python and lowers it to
StableHLO, which takes longer than reading the compiled program. So the StableHLO is
kept beside the compiled programs, and with it neither Flax nor the network is imported.

Nothing is kept where JAX has no folder for compiled programs: the command line sets
one, importing the package does not.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from movseg_jax.config import ModelConfig, Precision
from movseg_jax.errors import InputError
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.system.process import installed_version
from movseg_jax.types import Detections, Inputs, Outputs

PACKAGE = Path(__file__).parents[1]
# The code that a program is made of; if a byte of it changes, programs are made anew.
SOURCES = ("config.py", "types.py", "model/*.py", "nn/*.py", "ops/*.py")
# A file starts with the SHA-256 of the rest of it.
DIGEST = hashlib.sha256().digest_size


def detect_function(
    config: ModelConfig, precision: Precision | None = None
) -> Callable[[Any, Inputs], Outputs]:
    """Returns `jax.jit(Detector(...).apply)`, which is traced only if it has to be.

    The results are the same, bit for bit. A fusion of the user's own is always traced,
    as nobody knows when its code changes.
    """
    folder = _setting("jax_compilation_cache_dir")
    if not folder or "://" in folder or ":" in config.fusion:
        from movseg_jax.model.detector import Detector

        return jax.jit(Detector(config, precision=precision).apply)

    # Traced once for each set of shapes and types; later calls do not enter it.
    @jax.jit
    def detect(variables: Any, inputs: Inputs) -> Outputs:
        leaves, tree = jax.tree.flatten((variables, inputs))
        shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        key = _key(f"{config} {precision} {tree} {shapes}")
        path = Path(folder) / "traced" / key
        program = _read(path) or _trace(config, precision, tree, shapes, path)
        moving, static = program(leaves)
        return Outputs(Detections(**moving), Detections(**static) if static else None)

    return detect


def _trace(
    config: ModelConfig, precision: Precision | None, tree, shapes, path: Path
) -> Callable[[Any], Any]:
    """Traces and lowers the detector, and writes it if that is possible."""
    import jax.export

    from movseg_jax.model.detector import Detector

    detector = Detector(config, precision=precision)

    def detect(leaves):
        outputs: Any = detector.apply(*jax.tree.unflatten(tree, leaves))
        # A program on disk has plain dicts; {} stands for a branch that is missing.
        return [branch._asdict() if branch else {} for branch in outputs]

    try:
        program = jax.export.export(jax.jit(detect))(shapes)
    except Exception:
        # JAX does not export the operations of every device. If anything else is wrong,
        # it is wrong again, and raised, when this runs.
        return detect
    data = bytes(program.serialize())
    try:
        make_folder(path.parent)
        write_file(path, hashlib.sha256(data).digest() + data)
    except InputError:
        pass  # A full disk, or a folder that is read only: the next process traces.
    return program.call


def _read(path: Path) -> Callable[[Any], Any] | None:
    """The program in a file; None if there is none, or it is damaged."""
    import jax.export

    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, data = data[:DIGEST], data[DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        return None
    return jax.export.deserialize(bytearray(data)).call


def _key(text: str) -> str:
    """The name of the file: a hash of everything that a program depends on."""
    settings = [
        *(f"{n} {installed_version(n)}" for n in ("jax", "jaxlib", "flax")),
        jax.default_backend(),
        str(_setting("jax_default_matmul_precision")),
        str(_setting("jax_enable_x64")),
        _code(),
        text,
    ]
    return hashlib.sha256("\n".join(settings).encode()).hexdigest()


def _setting(name: str) -> Any:
    return getattr(jax.config, name)  # Type checkers do not know JAX's settings.


@functools.cache
def _code() -> str:
    """A hash of the code that a program is made of."""
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()
