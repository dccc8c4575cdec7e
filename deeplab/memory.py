"""The memory of the machine, and the refusal of sizes that cannot fit into it."""

import sys
from pathlib import Path

from deeplab.errors import UserError

_BYTES_PER_VALUE = 4
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""The limit of a container, in the two versions of control groups."""


def machine_memory() -> int | None:
    """Return the memory and swap space of the machine, or the limit of its container, in bytes; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        values = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        sizes = [values["MemTotal"] + values.get("SwapTotal", 0)]
    except (OSError, ValueError, KeyError, IndexError):
        return None
    for path in _LIMITS:
        try:
            sizes.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return min(sizes)


def peak_memory() -> int | None:
    """Return the largest memory that this process has used so far, in bytes; None if unknown."""
    if sys.platform != "linux":  # Other systems state it in other units, or not at all.
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def require_memory(subject: str, size: tuple[int, int], classes: int, images: int = 1, remedy: str = "") -> None:
    """Raise UserError if images and their logits alone exceed the memory of the machine.

    They are the least that a network holds at a time: (3 + classes) float32 values per pixel. The other activations
    come on top, so that a size which works is never refused.

    Args:
        subject: the setting or the file that determines the size, for the message.
        size: (height, width) in pixels.
        classes: number of classes of the network.
        images: number of images that pass through the network at a time.
        remedy: what to do; "" suggests a smaller size.
    """
    needed = images * size[0] * size[1] * (3 + classes) * _BYTES_PER_VALUE
    available = machine_memory()
    if available is not None and needed > available:
        problem = (
            f"{images} image{'s' * (images > 1)} of {size[0]}x{size[1]} pixels with {classes} classes "
            f"need{'s' * (images == 1)} at least {needed / 2**30:,.1f} GiB, and this machine has "
            f"{available / 2**30:,.1f} GiB"
        )
        raise UserError(subject, problem, remedy or "use a smaller size")
