"""Numbers, lists and choices that no command may accept; each must be refused by its key before anything is loaded."""

import pytest

from tests.hostile.case import refused

SIZE = "12 0 -5 32 7.5 nan abc true [] [65] [65,0] [65,65,65] 1e9 99999999"
COUNT = "0 -4 1.5 nan inf abc [] {a:1} true 99999999999"
COUNT_OR_ZERO = "-1 0.5 nan abc [1] true 99999999999"
SEED = "-1 4294967296 1.5 abc null"
FACTOR = "-5 nan inf -inf abc [] null true 1e30"
STRIDE = "0 -8 7 64 16.5 abc true"

COMMANDS = {
    "train": {
        "image_size": SIZE,
        "seed": SEED,
        "output_stride": "[] [0] [16,7] [-8] abc [abc] 7 {} [16.0] null",
        "check_data": "maybe 1 0 null []",
        "allow_missing": "2 no1 null",
        "first_stage": "3 abc [1]",
        "run": "'' 3 null [] true",
        "pretrained": "'' 3 []",
    },
    "train training": {
        "steps": COUNT,
        "batch_size": COUNT,
        "crop_size": "1 7 0 -65 32 1.5 nan abc [65] [65,0] null 99999999",
        "output_stride": f"{STRIDE} null [16]",
        "optimizer": "adam 1 null [] ''",
        "learning_rate": "0 inf nan -0.1 abc null [] 1e30",
        "power": "-5 nan inf abc null 1e9",
        "slow_start_steps": COUNT_OR_ZERO,
        "slow_start_learning_rate": "-1 inf nan abc 1e30",
        "momentum": "-0.1 1 1.5 nan inf abc",
        "weight_decay": "-1 nan inf abc 1e30",
        "bias_multiplier": FACTOR,
        "last_layers_multiplier": FACTOR,
        "backbone_multiplier": FACTOR,
        "layer_multipliers": "{a:-1} {a:nan} {a:b} 3 [1] {a:inf}",
        "clip_norm": "0 -1 nan inf abc",
        "accumulation": "0 -1 3 1.5 abc",
        "class_weights": "[] [1,nan] [1,-1] [1,inf] [0,0] 3 frequency [a]",
        "label_smoothing": "-0.1 1 nan abc",
        "mining_top": "0 -1 1.1 nan abc",
        "mining_steps": COUNT_OR_ZERO,
        "auxiliary_weight": "-1 nan inf abc",
        "ema_decay": "-0.1 1 2 nan abc",
        "batch_norm": "off 1 null",
        "recalibration_batches": COUNT_OR_ZERO,
        "precision": "float64 16 null",
        "devices": "gpu 0 null",
        "save_every": COUNT,
        "evaluate_every": "0 -1 1.5 abc",
        "evaluate_images": "0 -4 1.5 abc",
        "result": "first 1",
        "log_every": COUNT,
        "preview_images": f"-4 {COUNT_OR_ZERO}",
        "xla": "maybe 1",
        "quantize_aware": "maybe 1",
    },
    "train training.augment": {
        "min_scale": "0 -1 nan inf abc 1e9 2.5",
        "max_scale": "0 -1 nan inf abc 1e9",
        "scale_step": "-1 nan inf abc 1e9",
        "flip": "-0.1 1.1 nan abc",
        "rotation": "-1 181 nan inf abc",
        "brightness": "-0.1 1 nan abc",
        "contrast": "-0.1 1 nan abc",
        "saturation": "-0.1 1 nan abc",
    },
    "train training.quantization": {
        "range_batches": "0 -1 1.5",
        "delay": "-1 1.5",
        "range_momentum": "-0.1 1 5 nan",
        "ranges": "free 1 null",
    },
    "train training.distillation": {
        "teacher": "'' 3 []",
        "output_stride": f"{STRIDE} null",
        "flip": "maybe 1 null",
        "scales": "[] [0] [-1] [nan] [1,1] abc",
        "loss": "kl 1 null",
        "temperature": "0 -1 nan inf abc 1e6",
        "weight": "0 -1 nan inf abc null",
        "ignored_pixels": "maybe 1 null",
    },
    "train prune": {
        "target_multiply_adds": "0 -1 nan inf abc [] 1e30",
        "target_ms": "0 -1 nan inf abc []",
        "image_size": "0 -65 1.5 nan abc [65] [65,0] null 99999999",
        "mask_stride": "0 -1 1.5 abc null",
        "images": COUNT,
    },
    "train model": {
        "expanded_channels": "[] [8] [0] abc 8 [1.5]",
        "depth_multiplier": "0.0001 0 -1 nan inf abc 1e6 null",
        "batch_norm_momentum": "5 1 -0.1 nan inf abc",
        "aspp_rates": "[0] [-6] [6,nan] [6.5] 6 abc [99999999]",
        "aspp_channels": "0 -1 1.5 abc 99999999999",
        "low_level_channels": "0 -1 1.5 abc",
        "decoder_channels": "0 -1 1.5 abc",
        "dropout": "-0.1 1 nan abc",
        "classes": "1 0 -2 256 257 1.5 abc",
        "head": "v4 3 null",
        "multi_grid": "[1,2] [0,1,2] [1,2,3,4] 4",
        "round_channels": "maybe 1",
        "backbone": "'' 3 null",
    },
    "train data": {
        "val_fraction": "7 0 1 -0.1 nan abc",
        "val_size": "0 -4 1.5 abc",
        "split_seed": SEED,
        "classes": "[] [a] [a,''] [a,a] [1,2] abc",
        "eval_size": SIZE.replace("[] ", ""),
        "image_size": SIZE.replace("[] ", ""),
        "resize": "pad fit 3 null []",
        "cache_memory": "-0.1 1 nan inf abc null",
        "root": "'' 3 []",
        "train_split": "'' 3 null",
        "val_split": "'' 3 null",
        "unlabelled": "'' 3 []",
        "on_unreadable": "ignore 1",
        "source": "coco 3 null",
    },
    "evaluate run=run": {
        "image_size": SIZE,
        "output_stride": f"[] [16,7] [7] {STRIDE}",
        "multi_scale_strides": "[] [7] [16,0] abc",
        "multi_scale_images": "0 -1 1.5",
        "scales": "[] [0] [-1] [nan] [inf] [1e9] abc",
        "trimap_widths": "[0] [-1] [1.5] [abc] [99999999]",
        "bootstrap_samples": f"-5 {COUNT_OR_ZERO}",
        "example_images": f"-4 {COUNT_OR_ZERO}",
        "threads": "0 -1 1.5 99999999",
        "seed": SEED,
        "fit": "crop 1 null",
        "flip": "maybe 1",
        "out": "'' 3 []",
        "data": "3",
    },
    "export run=run": {
        "image_size": SIZE,
        "fit": "crop 1 null",
        "output_stride": f"{STRIDE} [16] null",
        "quantization": "[] int4 [int8,int4] null 8 [int8,int8]",
        "output": "masks 1 null",
        "mask_stride": "0 -1 1.5 abc",
        "input_type": "float16 1 []",
        "output_type": "float16 1 []",
        "max_miou_drop": "-1 nan inf 101 abc",
        "calibration_images": "0 -4 1.5 abc",
        "agreement_images": "0 -4 1.5 abc",
        "miou_images": f"-4 {COUNT_OR_ZERO}",
        "threads": "0 -1 1.5 99999999",
        "seed": SEED,
        "float_layers": "3 abc [1] ['']",
        "keep_ranges": "maybe 1",
        "out": "'' 3 []",
    },
    "export verify=model.tflite run=run": {
        "max_miou_drop": "-1 nan 101",
        "agreement_images": "0 -4",
        "miou_images": "-4",
        "output_stride": "0 7",
        "threads": "0",
        "seed": SEED,
    },
    "predict run=run images=photo.png": {
        "image_size": SIZE,
        "output_stride": STRIDE,
        "tile": "0 -1 1.5 7 abc",
        "overlap": "-1 1.5 abc",
        "opacity": "-0.1 1.1 nan inf abc",
        "threads": "0 -1 99999999",
        "fit": "crop 1 null",
        "out": "'' 3 [] null",
    },
    "summarize": {
        "image_size": f"{SIZE} null",
        "output_stride": f"{STRIDE} null",
        "every_layer": "maybe 1 null",
    },
}
"""Values that each command must refuse, by key; the message begins with the key and states what was expected."""


def rows():
    for command, keys in COMMANDS.items():
        first, _, prefix = command.partition(" ")
        dotted = f"{prefix}." if prefix and "=" not in prefix else ""
        base = first if dotted else command
        for key, values in keys.items():
            for value in values.split():
                yield refused(f'{base} "{dotted}{key}={value}"', f"{dotted}{key}")


CASES = list(rows())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_wrong_value_is_refused_by_its_key_before_the_work(case, check):
    check(case)
