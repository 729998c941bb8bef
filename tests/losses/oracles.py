"""Slow, obvious numpy float64 versions of the paper's formulas, written without looking at the package."""

from itertools import permutations

import numpy as np


def unit(x):
    """Rows of length one; a zero row stays zero."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)


def log_softmax(row):
    shifted = row - row.max()
    return shifted - np.log(np.exp(shifted).sum())


def targets(logits, phase, delta=0.2, offset=0, source="logits", scale=1.0):
    """Eq. 6-8, row by row. `scale` turns logits back into cosines for source "cosine"."""
    rows, columns = logits.shape
    out = np.zeros((rows, columns))
    for i in range(rows):
        positive = i + offset
        negatives = [j for j in range(columns) if j != positive]
        if phase == 0 or not negatives:
            out[i, positive] = 1
            continue
        out[i, positive] = 1 - delta
        if phase == 1:
            out[i, negatives] = delta / (columns - 1)
            continue
        score = {"logits": logits[i], "cosine": logits[i] / scale, "probs": np.exp(log_softmax(logits[i]))}[source]
        out[i, negatives] = delta * np.exp(log_softmax(score[negatives]))
    return out


def instance_directions(image, text, scale, all_image, all_text):
    """Logits of both directions, Eq. 2-3."""
    return scale * unit(image) @ unit(all_text).T, scale * unit(text) @ unit(all_image).T


def instance_loss(image, text, scale, all_image, all_text, target_pair):
    """Eq. 4-5 with given targets of both directions."""
    return mean_cross_entropy(instance_directions(image, text, scale, all_image, all_text), target_pair)


def mean_cross_entropy(directions, target_pair):
    """Eq. 4-5 of logits and targets of both directions."""
    total = 0.0
    for logits, target in zip(directions, target_pair):
        total += np.mean([-(target[i] * log_softmax(logits[i])).sum() for i in range(len(logits))])
    return total / 2


def entropy(target_pair):
    """Mean over the rows of both directions of the entropy of the targets."""
    rows = [row[row > 0] for targets_of_one in target_pair for row in targets_of_one]
    return np.mean([-(row * np.log(row)).sum() for row in rows])


def instance_targets(image, text, scale, all_image, all_text, phase, delta=0.2, offset=0, source="logits"):
    return [
        targets(logits, phase, delta, offset, source, scale)
        for logits in instance_directions(image, text, scale, all_image, all_text)
    ]


def best_matching_cost(cost):
    """Least total of a one-to-one matching of cost [P, words], over every permutation."""
    if cost.shape[0] < cost.shape[1]:
        cost = cost.T
    rows, columns = cost.shape
    return min(
        sum(cost[row, column] for column, row in enumerate(chosen)) for chosen in permutations(range(rows), columns)
    )


def token_alignment_loss(image_tokens, text_tokens, valid, normalizer):
    """Eq. 10-13."""
    costs, matches = [], []
    for image, text, words in zip(image_tokens, text_tokens, valid):
        cost = 1 - unit(image) @ unit(text[words]).T
        matches.append(min(cost.shape))
        costs.append(best_matching_cost(cost) if words.any() else 0.0)
    if normalizer == "sample":
        means = [cost / count for cost, count in zip(costs, matches) if count]
        return sum(means) / len(means) if means else 0.0
    if normalizer == "pairs":
        return sum(costs) / max(sum(matches), 1)
    return sum(costs) / (image_tokens.shape[0] * image_tokens.shape[1])


def mlm_loss(logits, labels, weights):
    """Mean over real slots of the cross-entropy, Eq. 14."""
    losses = [
        -log_softmax(row)[label]
        for row, label, weight in zip(logits.reshape(-1, logits.shape[-1]), labels.ravel(), weights.ravel())
        if weight
    ]
    return sum(losses) / len(losses) if losses else 0.0


def gradient(function, *arrays, step=1e-6):
    """Central finite differences of function(*arrays) for each float64 array."""
    result = []
    for position, array in enumerate(arrays):
        slope = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = array.copy()
                moved[index] += sign * step
                ends.append(function(*arrays[:position], moved, *arrays[position + 1 :]))
            slope[index] = (ends[0] - ends[1]) / (2 * step)
        result.append(slope)
    return result
