"""What becomes of a source's tensors: each is used under a name of this package, or left out for a stated reason."""

import difflib
import fnmatch
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Mapping:
    """A source's tensors on their way to the parameters of a `LightCLIP`; a map fills it.

    Args:
        tensors: the source's names -> arrays.
        where: the file, for messages.
    """

    tensors: dict[str, np.ndarray]
    where: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)  # parameter here -> float32 array
    origins: dict[str, str] = field(default_factory=dict)  # parameter here -> the tensor it came from
    left_out: list[str] = field(default_factory=list)  # tensors that have no place here
    stays_fresh: tuple[str, ...] = ()  # beginnings of the tower's parameters that the source has nothing for
    differences: list[str] = field(default_factory=list)  # where this package computes something else, by design
    # (weight, shift) of every convolution that reads pixels: the shift is its bias, or the moving mean behind it
    pixel_layers: list[tuple[str, str]] = field(default_factory=list)

    def __contains__(self, tensor: str) -> bool:
        return tensor in self.tensors

    def copy(self, parameter: str, tensor: str, convert=None) -> None:
        """Take `tensor` as `parameter`, through `convert` if it is given.

        Raises:
            ValueError: the source has no such tensor.
        """
        if tensor not in self.tensors:
            nearest = difflib.get_close_matches(tensor, self.tensors, n=2, cutoff=0.6)
            hint = f"; it has {', '.join(nearest)}" if nearest else ""
            raise ValueError(f"{self.where}: tensor {tensor} is missing{hint}")
        array = self.tensors[tensor].astype(np.float32)
        self.arrays[parameter] = np.ascontiguousarray(array if convert is None else convert(array))
        self.origins[parameter] = tensor

    def layer(self, parameter: str, tensor: str, bias: bool = True) -> None:
        """A convolution's or a linear map's weight, and its bias."""
        self.copy(f"{parameter}.weight", f"{tensor}.weight")
        if bias:
            self.copy(f"{parameter}.bias", f"{tensor}.bias")

    def norm(self, parameter: str, tensor: str) -> None:
        """Layer normalisation: PyTorch's weight and bias are gamma and beta here."""
        self.copy(f"{parameter}.gamma", f"{tensor}.weight")
        self.copy(f"{parameter}.beta", f"{tensor}.bias")

    def conv_norm(self, parameter: str, convolution: str, norm: str) -> None:
        """A convolution without bias and its batch normalisation: `layers.conv_norm` here."""
        self.layer(f"{parameter}.0", convolution, bias=False)
        self.norm(f"{parameter}.1", norm)
        self.copy(f"{parameter}.1.moving_mean", f"{norm}.running_mean")
        self.copy(f"{parameter}.1.moving_variance", f"{norm}.running_var")

    def query_key_value(self, parameter: str, weight: str, bias: str) -> None:
        """One map [3 D, D] for query, key and value becomes three."""
        for place, name in enumerate(("query", "key", "value")):
            self.copy(f"{parameter}.{name}.weight", weight, lambda array, i=place: np.split(array, 3)[i])
            self.copy(f"{parameter}.{name}.bias", bias, lambda array, i=place: np.split(array, 3)[i])

    def leave_out(self, *patterns: str) -> None:
        """Declare the tensors that have no place here, by `fnmatch` patterns.

        Raises:
            ValueError: a tensor is neither used nor declared: the source is not what its map takes it for.
        """
        rest = sorted(self.tensors.keys() - set(self.origins.values()))
        unknown = [name for name in rest if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
        if unknown:
            raise ValueError(
                f"{self.where}: {len(unknown)} tensors have no place in this model, the first is {unknown[0]} "
                f"{list(self.tensors[unknown[0]].shape)}; is the configuration's encoder as deep as the source?"
            )
        self.left_out = rest

    def check(self, shapes: dict[str, tuple[int, ...]], tower: str) -> None:
        """Compare with the model's parameters, `shapes`, of which those of `tower` are the source's to fill.

        Raises:
            ValueError: a parameter does not exist, has another shape or stays empty; the message names it.
        """
        for name, array in self.arrays.items():
            if name not in shapes:
                raise ValueError(
                    f"{self.where}: {self.origins[name]} would be {name}, which the configuration's model does not "
                    "have; is its encoder as deep as the source?"
                )
            if array.shape != shapes[name]:
                raise ValueError(
                    f"{self.where}: {self.origins[name]} {list(array.shape)} does not fit {name} {list(shapes[name])}; "
                    "give the configuration the source's sizes"
                )
        empty = [
            name
            for name in shapes
            if name.startswith(f"{tower}.") and name not in self.arrays and not name.startswith(self.stays_fresh)
        ]
        if empty:
            raise ValueError(
                f"{self.where}: nothing for {len(empty)} parameters of the configuration's model, the first is "
                f"{empty[0]}; is its encoder deeper than the source?"
            )
