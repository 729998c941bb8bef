"""Slow numpy float64 versions of the losses of other papers, written from their formulas and not from the package."""

import numpy as np

from tests.losses.oracles import log_softmax, unit


def simclr_loss(first, second, temperature, all_first, all_second, offset=0):
    """SimCLR's Eq. 1 over this rank's views: every other view of the whole batch is a key."""
    views = np.concatenate([unit(all_first), unit(all_second)])  # [2G, D]
    pictures = len(all_first)
    total = []
    for side, rows in enumerate((unit(first), unit(second))):
        for i, row in enumerate(rows):
            itself = side * pictures + offset + i
            other = (1 - side) * pictures + offset + i
            keys = [k for k in range(2 * pictures) if k != itself]
            scores = np.array([row @ views[k] / temperature for k in keys])
            total.append(-log_softmax(scores)[keys.index(other)])
    return np.mean(total)


def simsiam_loss(predicted, projected):
    """SimSiam's Eq. 1."""
    return -np.mean([p @ z for p, z in zip(unit(predicted), unit(projected))])


def filip_loss(image, text, valid, scale, all_image, all_text, all_valid, offset=0):
    """FILIP's Eq. 4-6, pair by pair; a text without words is left out everywhere."""
    image, text, all_image, all_text = unit(image), unit(text), unit(all_image), unit(all_text)
    total = 0.0
    for i in range(len(image)):
        if not valid[i].any():
            continue
        to_text, positive = [], None
        for j in range(len(all_text)):
            if all_valid[j].any():
                if j == i + offset:
                    positive = len(to_text)
                words = all_text[j][all_valid[j]]
                to_text.append(np.mean([max(patch @ word for word in words) for patch in image[i]]))
        total -= log_softmax(scale * np.array(to_text))[positive]
        words = text[i][valid[i]]
        to_image = [np.mean([max(word @ patch for patch in patches) for word in words]) for patches in all_image]
        total -= log_softmax(scale * np.array(to_image))[i + offset]
    return total / len(image) / 2


def paired_max_alignment_loss(image, text, valid):
    """Each word of a text with its best patch of the same pair."""
    per_text = [
        np.mean([min(1 - word @ patch for patch in patches) for word in words[mask]])
        for patches, words, mask in zip(unit(image), unit(text), valid)
        if mask.any()
    ]
    return np.mean(per_text) if per_text else 0.0


def nearest_neighbours(features, queue, filled):
    """Brute force."""
    return [int(np.argmax([row @ key for key in unit(queue[:filled])])) for row in unit(features)]


def siglip_loss(image, text, scale, bias, all_text, offset=0):
    """SigLIP's Algorithm 1, pair by pair."""
    total = 0.0
    for i, row in enumerate(unit(image)):
        for j, key in enumerate(unit(all_text)):
            z = 1 if j == i + offset else -1
            total += np.logaddexp(0, -z * (scale * row @ key + bias))
    return total / len(image)
