"""The configuration: every key with its default, its meaning and its bounds; see `config_file` for reading one.

Every error is a `ValueError` of one line that names the key, the value found and what would be right.
"""

from dataclasses import dataclass, field

from lightclip_ms.config.checks import require, require_between
from lightclip_ms.config.loss import LossConfig

MAX_PARAMETERS = 2_000_000_000  # of a tower: with gradients and moments, 32 GB
MAX_BATCH_BYTES = 64_000_000_000  # of a batch's pictures


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the two towers; `name` picks a preset of `factory.MODELS`, the other keys override it."""

    name: str = "lightclip_resnet18"
    image_encoder: str = "resnet18"
    image_size: int = 224
    image_options: dict = field(default_factory=dict)  # keyword arguments of that encoder
    embed_dim: int = 1024
    context_length: int = 77
    vocab_size: int = 49408  # ordinary ids, SOT and EOT; <|mask|> is one row more
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 8
    text_activation: str = "quick_gelu"  # or gelu, for the weights of other projects
    pretrained: str = ""  # checkpoint whose weights a run starts from

    def __post_init__(self):
        sizes = {"image_size": 4096, "embed_dim": 65536, "context_length": 4096, "text_width": 65536}
        limits = {**sizes, "text_heads": 65536, "text_layers": 1000}
        require_between(self, "model", {key: (1, high) for key, high in limits.items()})
        require(
            self.context_length >= 3,
            "model.context_length",
            self.context_length,
            "SOT, one word and EOT need at least 3",
        )
        require(
            514 <= self.vocab_size <= 49408,
            "model.vocab_size",
            self.vocab_size,
            "CLIP's vocabulary has 514 (bytes, SOT and EOT) to 49408 entries",
        )
        require(
            self.text_width % self.text_heads == 0,
            "model.text_heads",
            self.text_heads,
            f"it must divide model.text_width ({self.text_width})",
        )
        require(
            self.text_layers % 4 == 0,
            "model.text_layers",
            self.text_layers,
            "the text encoder is split into four equal stages, so use a multiple of 4",
        )
        require(
            self.text_activation in ("quick_gelu", "gelu"),
            "model.text_activation",
            self.text_activation,
            "use quick_gelu or gelu",
        )
        parameters = self.text_width * (self.vocab_size + 12 * self.text_width * self.text_layers)
        require(
            parameters <= MAX_PARAMETERS,
            "model.text_width",
            self.text_width,
            f"with {self.text_layers} layers the text encoder would have {parameters:.1e} parameters, the limit is "
            f"{MAX_PARAMETERS:.0e}",
        )
        parameters = _most_parameters(self.image_options)
        require(
            parameters <= 10 * MAX_PARAMETERS,  # an upper bound, several times the number of an ordinary encoder
            "model.image_options",
            self.image_options,
            "such an image encoder could not be built in memory",
        )


def _most_parameters(options: dict) -> float:
    """Upper bound of an image encoder's parameters: every layer a 3x3 convolution of eight times the largest width."""
    width, scale, depth = 64, 1.0, 8
    for name, value in options.items():
        items = value if isinstance(value, (list, tuple)) else [value]
        key = f"model.image_options.{name}"
        require(isinstance(name, str), key, name, "use the name of an option")
        require(len(items) <= 64, key, value, "use at most 64 numbers")
        for item in items:
            plain = isinstance(item, (bool, int, float, str))
            require(plain, key, value, "use a number, a text, or a list of numbers")
            require(isinstance(item, (bool, str)) or 0 <= item <= 65536, key, value, "use numbers of 0 to 65,536")
        numbers = [item for item in items if isinstance(item, (int, float))]
        if isinstance(value, (list, tuple)):
            depth = max(depth, sum(numbers))
        elif isinstance(value, float):
            scale = max(scale, value)
        elif isinstance(value, int):
            width = max(width, value)
    return 2 * 9 * (8 * width * scale) ** 2 * depth


@dataclass(frozen=True)
class AugmentConfig:
    """Training augmentation; the defaults are those of MoCo v2 and SimCLR (paper section 4.1)."""

    crop_scale: tuple[float, float] = (0.2, 1.0)  # share of the image's area
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue
    jitter_p: float = 0.8
    grayscale_p: float = 0.2
    blur_p: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels of the output
    flip_p: float = 0.5
    text_p: float = 1.0  # share of captions that get one of synonym replacement, swap, deletion
    text_view_p: float = 1.0  # the same of the second caption of methods that contrast two
    wordnet: str = ""  # folder of WordNet's index and data files; empty: the usual places

    def __post_init__(self):
        for key in ("jitter_p", "grayscale_p", "blur_p", "flip_p", "text_p", "text_view_p"):
            require(0 <= getattr(self, key) <= 1, f"data.augment.{key}", getattr(self, key), "use 0 to 1")
        low, high = self.crop_scale
        require(0 < low <= high <= 1, "data.augment.crop_scale", self.crop_scale, "use 0 < low <= high <= 1")
        for key in ("crop_ratio", "blur_sigma"):
            low, high = getattr(self, key)
            require(0 < low <= high <= 100, f"data.augment.{key}", getattr(self, key), "use 0 < low <= high <= 100")
        require(
            all(0 <= strength <= 1 for strength in self.jitter) and self.jitter[3] <= 0.5,
            "data.augment.jitter",
            self.jitter,
            "use strengths of 0 to 1, hue 0 to 0.5",
        )


@dataclass(frozen=True)
class DataConfig:
    """Where pairs come from: CSV/TSV, WebDataset shards or MindRecord."""

    train: str = ""
    val: str = ""  # pairs for retrieval during training
    zeroshot: str = ""  # labelled images for zero-shot classification during training
    zeroshot_classes: str = ""  # their class names and prompt templates: a built-in set's name or a file
    zeroshot_templates: str = ""
    format: str = "auto"  # or a name of data.pairs.FORMATS
    csv_image_key: str = "filepath"
    csv_caption_key: str = "title"
    csv_separator: str = ""  # empty: a tab for .tsv, a comma otherwise
    workers: int = 2  # that make the batches of a rank: 1 is a thread, more are processes
    shuffle_window: int = 8  # shards whose samples are mixed
    max_bad_fraction: float = 0.1  # a larger share of unreadable records stops the run
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self):
        require(
            not self.zeroshot or (self.zeroshot_classes and self.zeroshot_templates),
            "data.zeroshot",
            self.zeroshot,
            "name data.zeroshot_classes and data.zeroshot_templates too",
        )
        require_between(self, "data", {"workers": (1, 1024), "shuffle_window": (1, 1_000_000)})
        require(0 <= self.max_bad_fraction <= 1, "data.max_bad_fraction", self.max_bad_fraction, "use 0 to 1")


@dataclass(frozen=True)
class TrainConfig:
    """Recipe of paper section 4.1."""

    epochs: int = 32
    batch_size: int = 512  # pairs per rank
    pack_captions: bool = True  # several captions per row of the text encoder: no padding is computed, see docs/data.md
    accumulate: int = 1  # parts of a rank's batch that are in memory one at a time, see train/accumulate.py
    lr: float = 5e-4
    image_lr: float = 0.0  # of the image tower; 0: lr
    text_lr: float = 0.0
    freeze: str = ""  # image or text: that tower keeps its weights
    warmup: float = 0.05  # share of all steps
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    clip_norm: float = 1.0  # largest global gradient norm; 0: gradients are not clipped
    amp_level: str = "O2"  # products and convolutions in half precision, see train/precision.py; O0: float32
    amp_dtype: str = "float16"
    sync_batch_norm: bool = False  # statistics over the batches of all ranks
    seed: int = 0
    deterministic: bool = False  # kernels and collectives that repeat bit for bit; slower on Ascend, no change on a CPU
    profile_steps: tuple[int, int] = (0, 0)  # first and last step of MindSpore's own trace, from 1; [0, 0]: none
    log_every: int = 10  # read metrics, and check for a stop request, every this many steps
    save_minutes: float = 10.0  # between checkpoints inside an epoch; each epoch ends with one
    save_steps: int = 0  # a checkpoint every so many steps too; 0: none
    eval_epochs: int = 1  # epochs between evaluations on data.val and data.zeroshot; 0: none
    best_metric: str = "mean_recall"  # its best model is kept as best.safetensors; top1 is the other one
    keep: int = 3  # checkpoints

    def __post_init__(self):
        counts = ("epochs", "batch_size", "accumulate", "log_every", "keep")
        require_between(self, "train", {key: (1, 1_000_000) for key in counts})
        limits = {"save_steps": 10**12, "eval_epochs": 10**6, "save_minutes": 10**7, "seed": 2**32 - 1}
        require_between(self, "train", {key: (0, high) for key, high in limits.items()})
        for key in ("lr", "eps", "save_minutes"):
            require(getattr(self, key) > 0, f"train.{key}", getattr(self, key), "use a positive number")
        for key in ("beta1", "beta2", "warmup"):
            require(0 <= getattr(self, key) < 1, f"train.{key}", getattr(self, key), "use 0 up to, not including, 1")
        require(self.amp_level in ("O0", "O2"), "train.amp_level", self.amp_level, "use O0 or O2")
        require(self.amp_dtype in ("float16", "bfloat16"), "train.amp_dtype", self.amp_dtype, "use float16 or bfloat16")
        require(
            self.batch_size % self.accumulate == 0,
            "train.accumulate",
            self.accumulate,
            f"it must divide train.batch_size ({self.batch_size})",
        )
        for key in ("image_lr", "text_lr"):
            require(
                getattr(self, key) >= 0, f"train.{key}", getattr(self, key), "use a positive number, or 0 for train.lr"
            )
        require(
            self.freeze in ("", "image", "text"), "train.freeze", self.freeze, "use image or text, or leave it empty"
        )
        require(
            not (self.freeze == "image" and self.sync_batch_norm),
            "train.sync_batch_norm",
            self.sync_batch_norm,
            "a frozen image tower keeps its statistics (train.freeze)",
        )
        first, last = self.profile_steps
        require(
            1 <= first <= last or (first, last) == (0, 0),
            "train.profile_steps",
            self.profile_steps,
            "use the first and the last step to trace, for example [10, 15], or [0, 0]",
        )
        for key in ("save_steps", "eval_epochs", "clip_norm"):
            require(getattr(self, key) >= 0, f"train.{key}", getattr(self, key), "use 0 or more")
        require(
            self.best_metric in ("mean_recall", "top1"),
            "train.best_metric",
            self.best_metric,
            "use mean_recall or top1",
        )
        require(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "use 0 or more")


@dataclass(frozen=True)
class Config:
    """Everything that decides a run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    method: str = "lightclip"  # a name of config/methods.py, which the loss section starts from
    device: str = "auto"
    output_dir: str = "runs/default"
    resume: str = "auto"  # auto: resume from the newest valid checkpoint in output_dir; never: fail if one exists

    def __post_init__(self):
        require(self.device in ("auto", "ascend", "gpu", "cpu"), "device", self.device, "use auto, ascend, gpu or cpu")
        require(self.resume in ("auto", "never"), "resume", self.resume, "use auto or never")
        size = 3 * self.train.batch_size * self.model.image_size**2
        require(
            size <= MAX_BATCH_BYTES,
            "train.batch_size",
            self.train.batch_size,
            f"the pictures of a batch would take {size / 1e9:,.0f} GB",
        )
