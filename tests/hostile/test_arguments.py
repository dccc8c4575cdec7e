"""Command lines: grammar, misspelled and contradictory settings."""

import pytest

from tests.hostile.case import Case, fails, refused, works

NOT_A_SETTING = "not a setting; write"
QUOTES = "is no list, mapping or quoted text; close every bracket and quote"

GRAMMAR = [
    refused("train ~data", NOT_A_SETTING),
    refused("train ~data=voc", "write data=VALUE"),
    refused("train ~training.steps", NOT_A_SETTING),
    refused("train +training.steps=3", "write training.steps=VALUE"),
    refused("train ++training.steps=3", "write training.steps=VALUE"),
    refused("train +experiment=voc", "write experiment=VALUE"),
    refused("train =3", NOT_A_SETTING),
    refused("train steps", NOT_A_SETTING),
    refused("train --steps=3", NOT_A_SETTING),
    refused("train --multirun", NOT_A_SETTING),
    refused("train -m", NOT_A_SETTING),
    refused("train .steps=3", NOT_A_SETTING),
    refused("train training.=3", NOT_A_SETTING),
    refused("train training..steps=3", NOT_A_SETTING),
    refused("train 'training steps=3'", NOT_A_SETTING),
    refused("train training@steps=3", NOT_A_SETTING),
    refused("train data@x=voc", NOT_A_SETTING),
    refused("train ''", NOT_A_SETTING),
    refused("train ' '", NOT_A_SETTING),
    refused("train hydra.run.dir=x", "hydra's own settings are not used"),
    refused("train hydra/launcher=x", "hydra's own settings are not used"),
    refused("train output_stride=[16,8", QUOTES),
    refused("train output_stride=[16,8]]", QUOTES),
    refused("train output_stride=[16,,8]", QUOTES),
    refused("train output_stride=16,8", "output_stride: expected a list of"),
    refused("train training.layer_multipliers={a", QUOTES),
    refused("train training.layer_multipliers={a}", QUOTES),
    refused("train training.layer_multipliers={a:1}x", QUOTES),
    refused('train "run=\'a"', QUOTES),
    refused("train 'run=\"a'", QUOTES),
    refused("train run=[a],[b]", QUOTES),
    refused("train 'training.steps=range(1,3)'", "training.steps: expected an integer"),
    refused("train 'training.steps=choice(1,3)'", "training.steps: expected an integer"),
    refused("train 'training.steps=1,2'", "training.steps: expected an integer"),
    refused("train training.steps=", "training.steps: expected an integer"),
    refused(f"train training.steps={'9' * 5000}", "training.steps: expected an integer, got '999"),
    refused(f"train seed={'-9' * 700}", "seed: expected an integer"),
    refused(f"train training.steps={'[' * 5000}", "is no list, mapping or quoted text"),
    refused(f"train {'a.' * 300}b=1", "a: unknown key"),
    refused("train run=", "run: expected text, got ''"),
    refused("train 'run=  '", "run: expected text"),
    refused("train 'run=${HOME}'", "${ is not expanded here"),
    refused("train 'run=${data.root}/x'", "is not expanded here"),
    refused("train 'run=x/${oc.env:HOME}'", "is not expanded here"),
    refused("train 'run=$HOME/x'", "$HOME is not expanded here"),
    refused("train 'run=~/x'", "~ is not expanded here"),
    refused("train 'data.root=~'", "~ is not expanded here"),
    refused("predict run=run 'images=~/photo.png'", "~ is not expanded here"),
    refused("train 'run=a\x1b[31mb'", "has a character that cannot be printed"),
    refused("train data=null", "data: expected a mapping, got None"),
    refused("train model=null", "model: expected"),
    refused("train training=null", "training: expected a mapping, got None"),
    refused("train training=3", "training: expected a mapping, got 3"),
    refused("train training.augment=null", "training.augment: expected a mapping"),
    refused("train training.augment=true", "training.augment: expected a mapping"),
    refused("train data=", "data=: unknown choice; use one of"),
    refused("train data=vox", "data=vox: unknown choice; did you mean 'voc'?"),
    refused("train data=VOC", "data=VOC: unknown choice"),
    refused("train data=[voc]", "data=[voc]: unknown choice"),
    refused("train data=voc,folder", "data=voc,folder: unknown choice"),
    refused("train data=../data/voc", "unknown choice"),
    refused("train model=resnet50", "model=resnet50: unknown choice"),
    refused("train experiment=finetune", "experiment=finetune: unknown choice"),
    refused("evaluate run=run experiment=voc", "experiment=voc"),
    refused("evaluate run=run model=deeplabv3_resnet101", "model"),
    refused("predict run=run images=photo.png data=voc", "data=voc: cannot be used with predict"),
    refused("summarize data=voc", "data=voc: cannot be used with summarize"),
]

MISSPELLED = [
    refused("trian", "trian: unknown command; use one of train, evaluate"),
    refused("TRAIN", "TRAIN: unknown command"),
    refused("train.py", "train.py: unknown command"),
    refused("train steps=3", "steps: unknown key; did you mean 'training.steps'?"),
    refused("train training.step=3", "training.step: unknown key; did you mean 'training.steps'?"),
    refused("train batch_size=3", "did you mean 'training.batch_size'?"),
    refused("train crop=65", "crop: unknown key"),
    refused("train training.learning_rat=1", "did you mean 'training.learning_rate'?"),
    refused("train lr=1", "lr: unknown key"),
    refused("train root=set", "root: unknown key; did you mean 'data.root'?"),
    refused("train classes=[a,b]", "classes: unknown key; did you mean"),
    refused("train augment.flip=0", "augment: unknown key; did you mean 'training.augment'?"),
    refused("train data.rot=set", "data.rot: unknown key; did you mean 'data.root'?"),
    refused("train model.backbon=resnet50", "did you mean 'model.backbone'?"),
    refused("train training.augment.flp=0", "did you mean 'training.augment.flip'?"),
    refused("train Training.steps=3", "Training: unknown key; did you mean 'training'?"),
    refused("train training.steps.x=3", "training.steps"),
    refused("train run.x=3", "run: expected text, got {'x': 3}"),
    refused("train zzz=1", "zzz: unknown key; known keys: run, seed"),
    refused("evaluate runs=run", "runs: unknown key; did you mean 'run'?"),
    refused("evaluate run=run output=x", "output: unknown key"),
    refused("evaluate run=run data.rot=set", "data.rot: unknown key; did you mean 'data.root'?"),
    refused("evaluate run=run data.val_size=0", "data.val_size: expected an integer above 0, got 0"),
    refused("evaluate run=run data.val_size=abc", "data.val_size: expected"),
    refused("evaluate run=run data.classes=[a]", "data.classes"),
    refused("export run=run image=65", "image: unknown key; did you mean 'image_size'?"),
    refused("export run=run quantisation=int8", "did you mean 'quantization'?"),
    refused("export run=run data.rot=x", "data.rot: unknown key"),
    refused("predict run=run image=photo.png", "image: unknown key; did you mean 'images'?"),
    refused("predict run=run images=photo.png data.root=x", "data: unknown key"),
    refused("summarize model.heads=v3", "did you mean 'model.head'?"),
    refused("evaluate", "run: a value is required; set it with run=VALUE"),
    refused("export", "run: a value is required"),
    refused("predict", "run: a value is required"),
    refused("predict run=run", "images: a value is required"),
]

CONTRADICTIONS = [
    refused("export inspect=model.tflite verify=model.tflite", "cannot be combined with"),
    refused("export verify=model.tflite page=model.tflite", "cannot be combined with"),
    refused("export inspect=null", "inspect: unknown key"),
    refused("export target=list page=model.tflite", "page: cannot be combined with target=list"),
    refused(
        "export target=list run=run",
        "target=list: cannot be combined with run=; give target=list alone, or name a target",
    ),
    refused(
        "export page=yes run=run",
        "page=yes: cannot be combined with run=; use page=true in an export, or give page=FILE.tflite alone",
    ),
    refused(
        "export page=model.tflite quantization=int8 run=run", "cannot be combined with quantization=, run=; use page"
    ),
    refused("export inspect=model.tflite run=run", "inspect=model.tflite: cannot be combined with run=; remove run="),
    refused(
        "export verify=model.tflite out=x.tflite", "verify=model.tflite: cannot be combined with out=; remove out="
    ),
    refused("export page=model.tflite rnu=run", "rnu: unknown key; known keys: page, out, fit, example"),
    refused("export run=run target=gpus", "target: unknown target 'gpus'; did you mean 'gpu'?"),
    refused("export run=run target=gpu,web", "target: unknown target 'gpu,web'"),
    refused(
        "export run=run target=gpu output=labels", "output: labels contradicts target=gpu, because the classic GPU"
    ),
    refused(
        "export run=run target=npu quantization=[int8,float32]", "quantization: [int8,float32] contradicts target="
    ),
    refused("export run=run target=edgetpu image_size=769", "image_size: [769,769] contradicts target=edgetpu"),
    refused(
        "export run=run page=true input_type=int8", "input_type: expected uint8 or float32, which page=true can run"
    ),
    fails("export page=model.tflite out=model.tflite", "out: expected a name that ends in .html, got 'model.tflite'"),
    fails("export page=photo.png", "page=photo.png: is not the name of a .tflite file"),
    fails("export page=model.tflite example=notes.txt", "notes.txt"),
    refused("export verify=model.tflite output_stride=8", "output_stride: needs a model to compare with; add run="),
    refused("export verify=model.tflite max_miou_drop=1", "max_miou_drop: needs a model to compare with"),
    refused("export verify=model.tflite miou_images=3", "miou_images: needs a model to compare with"),
    refused(
        "predict run=model.tflite images=photo.png output_stride=8", "output_stride: model.tflite has a fixed network"
    ),
    refused("predict run=model.tflite images=photo.png image_size=65", "image_size: model.tflite has a fixed network"),
    refused("predict run=run images=photo.png overlap=32", "overlap: needs tile"),
    refused("predict run=run images=photo.png tile=65 overlap=65", "tile: expected more than overlap=65, got 65"),
    refused(
        "evaluate run=model.tflite data=folder data.root=set image_size=65", "image_size: model.tflite has a fixed"
    ),
    refused("evaluate run=run multi_scale_strides=[8]", "multi_scale_strides: needs several scales or flip=true"),
    refused("evaluate run=run multi_scale_images=3", "multi_scale_images: needs several scales or flip=true"),
    refused("evaluate run=run output_stride=[16,16]", "output_stride: expected each output stride once"),
    refused("evaluate run=[run,run]", "run: expected each run folder or .tflite file once"),
    refused("evaluate run=model.tflite", "data: model.tflite does not state what it was trained on; add data="),
    refused("train output_stride=[16,16]", "output_stride: expected each output stride once"),
    refused("train training.batch_size=4 training.accumulation=3", "training.accumulation: expected a divisor of"),
    refused(
        "train training.steps=5 training.slow_start_steps=5", "training.slow_start_steps: expected less than steps=5"
    ),
    refused("train training.augment.min_scale=3", "training.augment.min_scale: expected at most max_scale"),
    refused("train training.result=best", "training.result: expected last, unless training.evaluate_every"),
    refused("train training.patience=3", "training.patience: expected null without training.evaluate_every"),
    refused(
        "train data=folder data.root=set training.evaluate_every=null training.patience=3",
        "training.patience: expected null without training.evaluate_every",
    ),
    refused("train training.quantize_aware=true training.precision=mixed_float16", "training.precision: expected"),
    refused("train training.quantize_aware=true training.recalibration_batches=3", "training.recalibration_batches"),
    refused(
        "train training.batch_norm=frozen_statistics training.recalibration_batches=3",
        "training.recalibration_batches: expected 0 with training.batch_norm=frozen_statistics",
    ),
    refused("train model.head=v1 model.aspp_rates=[6,12]", "model.aspp_rates: expected one rate with head v1"),
    refused("train model.head=v2 model.aspp_rates=[]", "model.aspp_rates: expected a rate per branch"),
    refused(
        "export run=run quantization=float32 input_type=uint8", "input_type: expected float32 with quantization=float32"
    ),
    refused("export run=run quantization=float16 input_type=int8", "input_type: expected float32"),
    refused("export run=run quantization=dynamic output_type=uint8", "output_type: expected float32"),
    refused("export run=run quantization=int8 input_type=int16", "input_type: expected uint8 or int8 or float32"),
    refused("export run=run quantization=int16x8 input_type=uint8", "input_type: expected float32 or int16"),
    refused("export run=run quantization=[int8,float32] input_type=uint8", "input_type: expected float32"),
    refused("export run=run output=labels output_type=uint8", "output_type: expected null with output=labels"),
    refused("export run=run quantization=[int8,int8]", "quantization: expected each quantization once"),
]

CONTRADICTIONS_IN_THE_WORK = [
    fails("export run=run quantization=int16x8 output=labels", "labels are not available with int16x8"),
    fails("export run=run quantization=float32 float_layers=[logits]", "float_layers: only int8 files can have float"),
    fails("export run=run image_size=65 mask_stride=3", "mask_stride: 3 is not supported"),
    fails("export run=run image_size=66 mask_stride=4", "mask_stride: 4 does not fit"),
    fails("export run=run image_size=100000", "this machine has"),
    fails("export run=run out=model.h5", "out: expected a name that ends in .tflite"),
    fails("export run=run out=model", "out: expected a name that ends in .tflite"),
    fails("export run=model.tflite data=folder data.root=set out=model.tflite", "out: is the file that is imported"),
    fails("predict run=model.tflite images=photo.png tile=65", "tile: 65 pixels exceed the file's input of 33"),
    fails("predict run=run images=photo.png image_size=100000", "this machine has"),
    fails("FAST_EVALUATE image_size=100000", "this machine has"),
    fails("FAST_EVALUATE data.val_split=test", "test"),
    fails("TINY_TRAIN training.crop_size=100000", "training.crop_size: 2 images of 100000x100000 pixels"),
    fails("TINY_TRAIN training.batch_size=1000000", "training.crop_size: 1000000 images of 33x33 pixels"),
    fails(
        "TINY_TRAIN training.augment.rare_crops=0.5 training.augment.rare_classes=[0,3]",
        "training.augment.rare_classes: expected class ids of set/train, 0 to 2, got 3",
    ),
    refused("train data=voc data.root=voc minutes=5", "minutes: cannot be used: data=voc has a fixed recipe"),
    refused("train plan=true", "plan: cannot be used: data=shapes has a fixed recipe"),
    refused(
        "train data=folder data.root=set experiment=voc_finetune plan=true", "plan: cannot be used: the experiment"
    ),
    refused("train data=folder data.root=set plan=false minutes=5", "minutes: is the time of a plan, and plan=false"),
    refused("train data=folder data.root=set plan=true check_data=true", "plan: cannot be combined with check_data"),
    refused("train data=folder data.root=set plan=maybe", "plan: expected true or false or null, got 'maybe'"),
    refused("train data=folder data.root=nowhere minutes=5", "nowhere"),
    fails("TINY_TRAIN data.train_split=foo", "foo"),
    fails("TINY_TRAIN data.val_split=foo", "foo"),
    fails("TINY_TRAIN model.classes=5", "model.classes: expected 3"),
    fails("TINY_TRAIN training.class_weights=[1,2]", "training.class_weights: expected 3 weights"),
    fails("TINY_TRAIN plan=null data.classes=[a,b]", "expected labels 0..1", writes=("new",)),
    fails("TINY_TRAIN data.classes=[a,b]", "expected labels 0..1", writes=("new",)),
    fails("TINY_TRAIN training.quantize_aware=true", "pretrained: quantization-aware training needs"),
    fails("summarize run=nowhere", "nowhere"),
    fails("summarize run=run model.depth_multiplier=0.1", "model: run=run has its own network"),
    fails("summarize model.backbone=vgg", "model.backbone: unknown backbone 'vgg'"),
]

WORKS = [
    works("export inspect=model.tflite", printed="labels"),
    works("summarize model.depth_multiplier=0.1 image_size=65", printed="total"),
    works("summarize image_size=[65,97]", printed="total"),
    works("summarize run=run image_size=65", printed="27,663"),
    works("predict run=model.tflite images=photo.png out=a,b", writes=("a,b/photo_ids.png", "a,b")),
    works("predict run=model.tflite images=photo.png 'out=a b'", writes=("a b/photo_ids.png", "a b")),
    works("predict run=model.tflite images=photo.png 'out=a(1)=[b]'", writes=("a(1)=[b]/photo_ids.png", "a(1)=[b]")),
    works("predict run=model.tflite images=photo.png 'out=~x'", writes=("~x/photo_ids.png", "~x")),
    works("train --cfg job data=voc", printed="source: voc"),
    works("train --help", printed="training.steps"),
    works("evaluate --help", printed="data.val_size"),
    works("export --help", printed="data.root"),
]

CASES = [*GRAMMAR, *MISSPELLED, *CONTRADICTIONS, *CONTRADICTIONS_IN_THE_WORK, *WORKS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_command_line_is_refused_or_works(case: Case, check):
    check(case)
