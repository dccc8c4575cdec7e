"""What a .tflite file carries, ours or anybody's, as text."""

import json
from collections import Counter
from pathlib import Path

from deeplab.config import InspectConfig
from deeplab.conversion.export_report import sha256
from deeplab.tflite.flatbuffer import Tensor, TfliteGraph
from deeplab.tflite.metadata import Metadata
from deeplab.tflite.tflite_file import TfliteSource, open_tflite

_SHOWN = 400


def inspect(source: TfliteSource) -> str:
    """Size, ends, operators, constants and metadata of a file, one thing a line.

    Args:
        source: path of the file, or its bytes.

    Raises:
        UserError: no .tflite file, or damaged.
    """
    file = open_tflite(source)
    name, content, graph = file.name, file.content, file.graph
    lines = [
        ("file", f"{Path(name).name}, {len(content):,} bytes"),
        ("sha256", sha256(content)),
        ("made by", graph.description or "not said"),
        *(("input", _tensor(graph.tensors[i])) for i in graph.inputs),
        *(("output", _tensor(graph.tensors[i])) for i in graph.outputs),
        ("operators", ", ".join(f"{name} {count}" for name, count in graph.operator_counts().items())),
        ("dilations", _dilations(graph)),
        ("constants", _constants(graph)),
        *_metadata(file.metadata),
    ]
    return "\n".join(f"{key:14} {value}" for key, value in lines)


def run_inspect(config: InspectConfig) -> None:
    """Print what the file of `config.inspect` contains."""
    print(inspect(config.inspect))


def _tensor(tensor: Tensor) -> str:
    """Type, shape and scale."""
    text = f"{tensor.dtype} {list(tensor.signature)} {tensor.name!r}"
    if tensor.quantization is None:
        return text
    return f"{text}, scale {tensor.quantization.scale[0]:.6g}, zero point {tensor.quantization.zero_point[0]}"


def _dilations(graph: TfliteGraph) -> str:
    """Atrous rates above 1 and how many convolutions have them."""
    rates = Counter(
        op.options["dilation_h_factor"] for op in graph.operators if op.options.get("dilation_h_factor", 1) > 1
    )
    return ", ".join(f"rate {rate}: {count}" for rate, count in sorted(rates.items())) or "none"


def _constants(graph: TfliteGraph) -> str:
    """Bytes of all constants by type."""
    sizes: Counter[str] = Counter()
    for tensor in graph.tensors:
        if tensor.data is not None:
            sizes[tensor.dtype] += tensor.data.nbytes
    return ", ".join(f"{dtype} {size:,} bytes" for dtype, size in sizes.most_common()) or "none"


def _metadata(metadata: Metadata | None) -> list[tuple[str, str]]:
    """All that the file says about itself."""
    if metadata is None:
        return [("metadata", "none")]
    lines = [
        ("name", metadata.name),
        ("description", metadata.description),
        ("normalization", "none" if metadata.mean is None else f"mean {metadata.mean}, std {metadata.std}"),
        ("labels", "none" if metadata.labels is None else f"{len(metadata.labels)}: {', '.join(metadata.labels)}"),
        ("activation", metadata.activation or "not said"),
    ]
    for name, content in metadata.files.items():
        lines.append((f"attached {name}", f"{len(content):,} bytes {_preview(content)}"))
    return lines


def _preview(content: bytes) -> str:
    """The content: JSON in full, a line for each key; other text on one line, cut where it is long."""
    text = content.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        text = " ".join(text.split())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    if not isinstance(found, dict):
        return text
    return "".join(f"\n  {key:17} {json.dumps(value)}" for key, value in found.items())
