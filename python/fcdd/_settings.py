"""Keyword arguments of trainings: made by `scripts/python-settings` of the table of settings, not by hand."""

from __future__ import annotations

from os import PathLike
from typing import Literal, Optional, TypedDict, Union

Path = Union[str, "PathLike[str]"]
Dataset = Literal[
    "fmnist",
    "mnist",
    "emnist",
    "cifar10",
    "cifar100",
    "mvtec",
    "imagenet",
    "pascalvoc",
    "custom",
    "folder",
]


class Settings(TypedDict, total=False):
    """What trainings can be told; None is as if it were left out."""

    epochs: Optional[int]
    """Epochs: each draws every good image `passes` times and turns about half of them into anomalies; change `schedule`
    with it."""

    side: Optional[int]
    """Side in pixels of the square that the net sees; images are resized to it."""

    fit: Optional[str]
    """How images of a folder come to that side: squash (all of it, whatever its aspect; the default), letterbox (all of
    it, its aspect kept), or tile:SIDE,OVERLAP, squares of SIDE pixels of the image that are resized to the side,
    overlap by OVERLAP pixels (SIDE / 4 where it is left out) and together show all of it."""

    roi: Optional[Path]
    """Mask, scaled to each image: of what is dark in it nothing is learned, and it is no part of score, heatmap and
    regions."""

    ignore: Optional[Path]
    """Mask, scaled to each image: of what is bright in it nothing is learned, and it is no part of score, heatmap and
    regions."""

    net: Optional[str]
    """Net, by its name."""

    weights: Optional[Path]
    """Weights that a VGG or RESNET18 net starts from: vgg11_bn, vgg16 or resnet18, trained on ImageNet, in
    torchvision's file or as safetensors."""

    batch: Optional[int]
    """Images per step."""

    flips: Optional[Literal["none", "h", "v", "hv"]]
    """Mirror images of training images, each axis with probability 0.5: none, left to right (h), top to bottom (v), or
    both (hv); left out, those of the dataset's recipe, which are h for a folder."""

    rotate: Optional[Literal["none", "quarter"]]
    """Turns of training images: none, or by quarters of a full turn, each as likely."""

    brightness: Optional[float]
    """Changes of brightness and contrast of training images, each by a factor of up to 1 ± this, 0 for none; left out,
    those of the dataset's recipe, which are 0.04 for a folder."""

    precision: Optional[Literal["f32", "bf16"]]
    """Precision of the values between layers; weights and sums are kept in 32 bits."""

    exact: Optional[bool]
    """On the CPU, take all products of convolutions, as a GPU does, and not the fewer ones of Winograd's minimal
    filtering: slower, with smaller rounding errors."""

    hold: Optional[str]
    """When to keep decoded images in memory: auto (if they take at most half of what is free), always, never, or a
    number of MiB that they may take; changes no result."""

    skip_broken: Optional[bool]
    """Leave out images that cannot be read, instead of refusing the data."""

    seed: Optional[int]
    """Seed of all randomness."""

    supervise: Optional[Literal["unsupervised", "other", "noise", "malformed-normal", "malformed-normal-gt"]]
    """What the net learns anomalies from."""

    noise: Optional[str]
    """What artificial anomalies are made of: one of these or several with commas, whose shares stand after colons, as
    in fine-confetti,cutpaste:3; where `outliers` are named, the default is outliers."""

    outliers: Optional[str]
    """Images that serve as anomalies, of a kind and in a folder (of cifar100 also in train.bin)."""

    labelled: Optional[str]
    """Labelled defects to learn from, beside what anomalies are made of or, with `supervise` other, alone: train (those
    beside the good training images), test (those of the test images, which leave the test), or a folder of them."""

    labelled_share: Optional[int]
    """Per cent of the anomalies that are `labelled` ones."""

    oe_limit: Optional[int]
    """Learn from at most this many outliers; of mvtec, mvtec_gt, `labelled` and `supervise` other, from that many of
    each class and kind of defect."""

    maps: Optional[bool]
    """Train on ground-truth maps, pixel by pixel (true), or on labels, one per image (false)."""

    part_gap: Optional[int]
    """Keep images of one part together: none are tested on, nor held out to set the threshold by, where others of their
    part are learned from. Images show one part where the numbers at the end of their file names differ by at most N, in
    chains (N = 1: 7, 8 and 9 are one part). Folders are ignored: only for data whose numbers are unique."""

    lr: Optional[float]
    """Learning rate."""

    schedule: Optional[str]
    """How the learning rate falls: lambda:γ (times γ after each epoch) or milestones:γ:e1,e2 (times γ after these
    epochs, as PyTorch's MultiStepLR)."""

    optimizer: Optional[Literal["sgd", "adam"]]
    """Optimizer of the weights."""

    weight_decay: Optional[float]
    """Weight decay."""

    patience: Optional[int]
    """End training once so many epochs in a row were no better than one before, and keep the weights of the best: the
    epoch after which scores best separate a tenth of the good images, 50 at most, which are held out of training, from
    anomalies made of them. Fewer than 80 good images are too few for that. Left out, all epochs are trained."""

    calibration_share: Optional[int]
    """Per cent of the good images, 20 at most, that are held out of training to set the threshold by; 0 for none, as
    where there are too few for any: then the threshold is set by images that were learned from, and promises
    nothing."""

    fpr: Optional[float]
    """The share of good images, such as 0.01, that the threshold may call anomalous, set by those that are held out.
    Left out, 0.01 or the smallest that so many can promise: 1 / (images + 1)."""

    passes: Optional[int]
    """Passes over the good images in an epoch."""

    views: Optional[int]
    """Views of each good image that a net with fixed features (`_MS`) learns from: epochs beyond these draw the same
    ones again, in another order. On the CPU the fixed layers see each view once, and what they make of it is kept in
    memory."""

    reestimate: Optional[bool]
    """After the last epoch, estimate the batch norms' mean and variance again, over ten training batches."""

    sigma: Optional[float]
    """Standard deviation σ of the Gaussian that upsamples maps to heatmaps, in input pixels; with `maps` true also in
    training."""

    image_score: Optional[str]
    """How the score of an image follows from its anomaly map, before upsampling: mean (the paper's), max, or top:P, the
    mean of the highest P per cent of its values."""

    quantile: Optional[float]
    """Quantile of the heatmaps' values from which on the colour is dark red."""

    class_: Optional[str]
    """The normal class, by number or name; of pascalvoc, the anomalous one."""

    objective: Optional[Literal["fcdd", "hsc", "ae"]]
    """What the net is trained for."""

    gradient: Optional[Literal["grad", "xgrad"]]
    """What heatmaps show of the score's gradient, for hsc."""

    bias: Optional[bool]
    """The convolutions' biases, and the norms' scale and shift."""

    pipeline: Optional[Literal["lcnaug1", "aug1", "aug1-masks", "aug1-blackcenter", "aug1-blackcenter-inverted", "imagenet", "lcn", "none"]]
    """Augmentation and normalisation."""

    offline_supervision: Optional[bool]
    """Make an anomaly of each good image once, before training, and learn from both; else each sample becomes an
    anomaly with probability 0.5, drawn again in each epoch."""

    as_published: Optional[bool]
    """Keep in the test the defects that were learned from, as the paper does: figures look better."""
