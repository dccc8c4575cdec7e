"""All checks of a file, before it is written or on its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeplab.conversion.agreement import Reference, agreement_checks, simulation_checks
from deeplab.conversion.client_checks import client_checks
from deeplab.conversion.export_report import Check, check, not_checked
from deeplab.conversion.structure import Expected, structure_checks
from deeplab.errors import UserError
from deeplab.tflite.interpreter import TfliteModel


@dataclass(frozen=True)
class Proof:
    """What a file has to agree with.

    Attributes:
        expected: what it was meant to be.
        reference: what the Keras model gives.
        logit_offset: what was added to all logits.
        max_miou_drop: in points, 0..100.
        tolerance: factor on what rounding may do to scores and pixels; above 1 for networks that are not trained, in
            which it grows from layer to layer.
    """

    expected: Expected
    reference: Reference
    logit_offset: float
    max_miou_drop: float
    tolerance: float = 1.0


def verify(content: bytes, proof: Proof | None, pictures: Sequence[np.ndarray], threads: int = 2) -> tuple[Check, ...]:
    """Checks a .tflite file.

    Args:
        content: of the file.
        proof: what it has to agree with; None for a file whose Keras model is not at hand.
        pictures: `[h, w, 3]` uint8 at the model's size, for the clients.
        threads: of the interpreter.

    Returns:
        All checks. A file that cannot be opened at all gives one that failed.
    """
    try:
        model = TfliteModel(content, threads)
    except UserError as e:
        return (check("opens in LiteRT", False, str(e).removeprefix("the model: ").split("; ")[0], "opens"),)
    checks = structure_checks(model, proof.expected if proof else None)
    if any(c.state == "failed" and c.name.endswith("as ordered") for c in checks):
        return (*checks, not_checked("agreement and clients", "the file is not what was ordered"))
    if proof is None:
        checks.append(not_checked("agreement with Keras", "give run=FOLDER to compare with"))
    else:
        checks += agreement_checks(
            model,
            proof.reference,
            proof.expected.output,
            proof.expected.quantization,
            proof.max_miou_drop,
            proof.logit_offset,
            proof.tolerance,
        )
        if proof.expected.grids:
            checks += simulation_checks(content, threads, proof.reference, proof.tolerance)
    return (*checks, *client_checks(content, pictures, threads, proof.tolerance if proof else 1.0))
