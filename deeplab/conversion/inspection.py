"""Describes any .tflite file as text: its content, the apps that open it, and what delegates do with it."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from deeplab.compatibility.summary import compatibility
from deeplab.config import InspectConfig
from deeplab.conversion.export_report import sha256
from deeplab.errors import printable
from deeplab.tflite.flatbuffer import CONVOLUTIONS, Tensor, TfliteGraph
from deeplab.tflite.metadata import Metadata
from deeplab.tflite.tflite_file import TfliteSource, open_tflite


def inspect(source: TfliteSource) -> str:
    """Return size, input, output, operators, constants and metadata of a file, one per line.

    Raises:
        UserError: the file is missing, damaged, or not a .tflite file.
    """
    file = open_tflite(source)
    graph = file.graph
    rates = Counter(op.options.get("dilation_h_factor", 1) for op in graph.operators)
    sizes: Counter[str] = Counter()
    for tensor in graph.tensors:
        if tensor.data is not None:
            sizes[tensor.dtype] += tensor.data.nbytes
    lines = [
        ("file", f"{Path(file.name).name}, {len(file.content):,} bytes"),
        ("sha256", sha256(file.content)),
        ("made by", graph.description or "not stated"),
        *(("input", _tensor_text(graph.tensors[i])) for i in graph.inputs),
        *(("output", _tensor_text(graph.tensors[i])) for i in graph.outputs),
        ("operators", _joined(f"{name} {count}" for name, count in graph.operator_counts().items())),
        ("dilations", _joined(f"rate {rate}: {count}" for rate, count in sorted(rates.items()) if rate > 1)),
        ("constants", _joined(f"{dtype} {size:,} bytes" for dtype, size in sizes.most_common())),
        ("kernels", _kernel_text(graph)),
        *_metadata_lines(file.metadata),
    ]
    text = "\n".join(f"{key:14} {value}" for key, value in lines)
    # Names and descriptions may hold control characters, with which a file could steer the terminal.
    return "\n".join(printable(line) for line in text.split("\n"))


def run_inspect(config: InspectConfig) -> None:
    """Print the content of the file `config.inspect`, which apps open it, and what each delegate does with it."""
    file = open_tflite(config.inspect)
    print(inspect(file), flush=True)
    print(compatibility(file).text())


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(texts) or "none"


def _kernel_text(graph: TfliteGraph) -> str:
    """Return how many kernels have one scale per output channel, one per tensor, or none."""
    kernels = [graph.tensors[op.inputs[1]].quantization for op in graph.operators if op.name in CONVOLUTIONS]
    kinds = Counter("not quantized" if q is None else "per-channel" if q.per_channel else "per-tensor" for q in kernels)
    return _joined(f"{kind} {count}" for kind, count in kinds.most_common())


def _tensor_text(tensor: Tensor) -> str:
    """Return dtype, shape, name, scale and zero point of a tensor."""
    text = f"{tensor.dtype} {list(tensor.signature)} {tensor.name!r}"
    if tensor.quantization is None:
        return text
    return f"{text}, scale {tensor.quantization.scale[0]:.6g}, zero point {tensor.quantization.zero_point[0]}"


def _metadata_lines(metadata: Metadata | None) -> list[tuple[str, str]]:
    if metadata is None:
        return [("metadata", "none")]
    return [
        ("name", metadata.name),
        ("description", metadata.description),
        ("normalization", "none" if metadata.mean is None else f"mean {metadata.mean}, std {metadata.std}"),
        ("labels", "none" if metadata.labels is None else f"{len(metadata.labels)}: {', '.join(metadata.labels)}"),
        ("activation", metadata.activation or "not stated"),
        *((f"attached {name}", f"{len(file):,} bytes {_preview(file)}") for name, file in metadata.files.items()),
    ]


def _preview(content: bytes) -> str:
    """Return JSON in full, with one line per key, and other text on one line, shortened."""
    text = content.decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
    except ValueError:
        text = " ".join(text.split())
        return text if len(text) <= 400 else f"{text[:400]}..."
    if not isinstance(parsed, dict):
        return text
    return "".join(f"\n  {key:17} {json.dumps(value)}" for key, value in parsed.items())
