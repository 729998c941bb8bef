"""Few updates for all small parameters: those of a model's vectors (biases, norms) are made `_MOST` at a time.

A model has hundreds of them, and each would have its own operators for norm, clipping and update, which take longer to
launch than to run. In checkpoints every vector has its own moments, as if it were updated alone.
"""

import re
from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, nn, ops
from mindspore.ops import auto_generate

from lightclip_ms.model.weights import check_arrays
from lightclip_ms.train.adamw import is_decayed

NAME = "joined_vectors"
_MOST = 32  # the compiler nests calls for each size that an array is split into, and allows 1,000
_MOMENT = re.compile(r"(.*?\.moment[12]\.)(.+)")  # in a checkpoint


class JoinedVectors(nn.Cell):
    """The vectors without decay, joined by learning rate.

    What is joined is the change by one update: it starts at zero, the optimizer updates it, and it is added to the
    vectors. A copy of the vectors themselves would be a second read of each within a step, and MindSpore copies an
    array (`TensorMove`) for every read if there are two with a write behind.

    Args:
        parameters: all that are trained.
        factors: each parameter's share of the learning rate.

    Attributes:
        parameters: the same in the order in which `join` takes gradients: first those that are not joined.
        updated: what the optimizer updates: those that are not joined, then the joined ones.
        factors: shares of the learning rate of `updated`.
    """

    def __init__(self, parameters: Sequence[Parameter], factors: Sequence[float]):
        super().__init__()
        pairs = list(zip(parameters, factors))
        alone = [pair for pair in pairs if not _is_joined(pair[0])]
        joined = [pair for pair in pairs if _is_joined(pair[0])]
        groups, group_factors = [], []
        for factor in dict.fromkeys(factor for _, factor in joined):
            vectors = [vector for vector, other in joined if other == factor]
            groups += [vectors[start : start + _MOST] for start in range(0, len(vectors), _MOST)]
            group_factors += [factor] * (len(groups) - len(group_factors))
        vectors = [vector for group in groups for vector in group]
        self.alone = len(alone)
        self.parameters = ParameterTuple([parameter for parameter, _ in alone] + vectors)
        self.groups = tuple(ParameterTuple(group) for group in groups)
        self.sizes = tuple(tuple(vector.size for vector in group) for group in groups)
        ends = np.cumsum([self.alone, *map(len, groups)]).tolist()
        self.ranges = tuple(zip(ends, ends[1:]))
        self.joined = ParameterTuple(
            [Parameter(ops.zeros((sum(sizes),), ms.float32), f"{NAME}{i}") for i, sizes in enumerate(self.sizes)]
        )
        self.updated = ParameterTuple([*(parameter for parameter, _ in alone), *self.joined])
        self.factors = [factor for _, factor in alone] + group_factors
        self.split = auto_generate.SplitWithSize()
        # Taken before the parameters are renamed: a moment's name in a checkpoint ends with its parameter's.
        self._names = tuple(tuple(vector.name for vector in group) for group in groups)

    def join(self, gradients):
        """Gradients of `parameters` -> gradients of `updated`."""
        result = gradients[: self.alone]
        for start, end in self.ranges:
            result += (ops.concat(gradients[start:end]),)
        return result

    def clear(self):
        """Before an update: no change."""
        for index, sizes in enumerate(self.sizes):
            ops.assign(self.joined[index], ops.zeros((sum(sizes),), ms.float32))
        return True

    def spread(self):
        """After an update: add the changes to the vectors."""
        for index, group in enumerate(self.groups):
            ops.HyperMap()(_add, group, self.split(self.joined[index], self.sizes[index], 0))
        return True

    def moments_apart(self, arrays: dict) -> dict:
        """Arrays of a checkpoint with the moments of every vector in place of those of the joined ones."""
        result = {}
        for name, array in arrays.items():
            found = _MOMENT.match(name)
            if not found or not found[2].startswith(NAME):
                result[name] = array
                continue
            group = int(found[2].removeprefix(NAME))
            pieces = np.split(array, np.cumsum(self.sizes[group])[:-1])
            result |= {found[1] + vector: piece for vector, piece in zip(self._names[group], pieces)}
        return result

    def moments_joined(self, arrays: dict, source) -> dict:
        """The reverse of `moments_apart`.

        Raises:
            ValueError: a vector's moment is missing, does not fit or is not finite; the message names it.
        """
        result = dict(arrays)
        kinds = {found[1] for found in map(_MOMENT.match, arrays) if found}
        for group, (names, sizes) in enumerate(zip(self._names, self.sizes)):
            for kind in kinds:
                expected = {kind + name: ((size,), np.dtype(np.float32)) for name, size in zip(names, sizes)}
                given = {name: arrays[name] for name in expected if name in arrays}
                if given:  # else the moments of another learning rate
                    check_arrays(given, expected, source)
                    result[f"{kind}{NAME}{group}"] = np.concatenate([result.pop(name) for name in expected])
        return result


def _is_joined(parameter: Parameter) -> bool:
    """Not single numbers: `logit_scale` stays the first, so learning rates keep the order that checkpoints know."""
    return parameter.ndim == 1 and parameter.size > 1 and not is_decayed(parameter)


_add = ops.MultitypeFuncGraph("add")


@_add.register("Tensor", "Tensor")
def _add_tensor(parameter, change):
    return ops.assign_add(parameter, change)
