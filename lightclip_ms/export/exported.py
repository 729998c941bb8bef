"""An exported folder on ONNX Runtime. Nothing here needs MindSpore; `requirements-deploy.txt` lists what does."""

import os

import numpy as np

from lightclip_ms.data.arguments import require_images, require_tokens
from lightclip_ms.data.eval_transform import EvalTransform
from lightclip_ms.data.tokenizer import Tokenizer, check_ids, read_merges
from lightclip_ms.export.manifest import OPSET, check_file, choose_precision, read_manifest

CHUNK = 64  # pictures or texts at a time: bounds memory; rows do not depend on each other


class ExportedModel:
    """Two towers on ONNX Runtime, with the transform and the tokenizer that fit them.

    Attributes:
        name, encoder: of the model and of its image encoder; embed_dim, image_size: E and S.
        scale: multiplies cosines before the softmax over texts. precisions: of the towers, by name.
        transform: Pillow image or encoded bytes -> float32 [3, S, S].
        tokenizer: str or list of str -> int32 [N, L].
        preprocess, tokenize: the same two, as evaluation calls them.
        checksum: identifies these weights in this precision.
    """

    def __init__(self, folder: str | os.PathLike, image: str | None, text: str | None, threads: int | None):
        manifest = read_manifest(folder)
        self.manifest = manifest
        self.precisions = {
            tower: choose_precision(manifest, tower, precision)
            for tower, precision in (("image", image), ("text", text))
        }
        settings = manifest["tokenizer"]
        merges = read_merges(check_file(folder, manifest, settings["merges"]))
        self.tokenizer = self.tokenize = Tokenizer(settings["context_length"], settings["vocab_size"], merges)
        self.transform = self.preprocess = EvalTransform(**_preprocessing(manifest))
        self.name, self.encoder = manifest["name"], manifest["image_encoder"]
        self.embed_dim, self.scale = manifest["embed_dim"], manifest["scale"]
        self.image_size = self.transform.image_size
        paths = {tower: manifest["onnx"][tower]["files"][each] for tower, each in self.precisions.items()}
        self.checksum = "+".join(manifest["files"][path]["sha256"] for path in paths.values())
        self._sessions = {
            tower: _open_session(check_file(folder, manifest, path), threads) for tower, path in paths.items()
        }

    def encode_image(self, images: np.ndarray, normalize: bool = False) -> np.ndarray:
        """Embed pictures.

        Args:
            images: float32 [N, 3, S, S] as `transform` makes them.
            normalize: scale each row to length 1.

        Returns:
            float32 [N, E].

        Raises:
            ValueError: another type, shape or kind of number.
        """
        require_images(images, self.image_size)
        return self._encode("image", np.asarray(images, np.float32), normalize)

    def encode_text(self, tokens: np.ndarray, normalize: bool = False) -> np.ndarray:
        """Embed captions.

        Args:
            tokens: int32 [N, L] as `tokenizer` makes them; what follows the longest text is cut.
            normalize: scale each row to length 1.

        Returns:
            float32 [N, E].

        Raises:
            ValueError: another type, shape or kind of number, no row, an id outside the vocabulary, or a row without
            end of text.
        """
        tokenizer = self.tokenizer
        require_tokens(tokens, tokenizer.context_length)
        tokens = np.asarray(tokens, np.int32)
        longest = check_ids(tokens, tokenizer.context_length, tokenizer.vocab_size)
        return self._encode("text", np.ascontiguousarray(tokens[:, :longest]), normalize)

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        """As evaluation calls it: rows of length 1."""
        return self.encode_image(images, normalize=True)

    def encode_texts(self, ids: np.ndarray) -> np.ndarray:
        """As evaluation calls it: rows of length 1."""
        return self.encode_text(ids, normalize=True)

    def _encode(self, tower: str, batch: np.ndarray, normalize: bool) -> np.ndarray:
        session = self._sessions[tower]
        source = self.manifest["onnx"][tower]["input"]
        parts = [
            session.run(["features"], {source: batch[start : start + CHUNK]})[0]
            for start in range(0, len(batch), CHUNK)
        ]
        features = np.concatenate(parts) if parts else np.zeros((0, self.embed_dim), np.float32)
        if normalize:
            features = features / np.sqrt((features * features).sum(axis=1, keepdims=True) + np.float32(1e-12))
        return features


def load_exported(
    folder: str | os.PathLike, image: str | None = None, text: str | None = None, threads: int | None = None
) -> ExportedModel:
    """The model in a folder that `scripts/export.py` made, on ONNX Runtime, without MindSpore.

    Args:
        folder: of the export.
        image, text: "float32", "float16" or "int8" for each tower; None takes the folder's default.
        threads: of ONNX Runtime; None leaves it the choice.

    Raises:
        FileNotFoundError: no such folder, no export, a file of it is missing, or onnxruntime is not installed.
        ValueError: a file was changed, ONNX Runtime cannot run it, or a precision was not exported.
    """
    return ExportedModel(folder, image, text, threads)


def _preprocessing(manifest: dict) -> dict:
    settings = manifest["preprocessing"]
    if settings["resize"] != "bicubic" or settings["crop"] != "centre":
        raise ValueError(
            f"preprocessing {settings['resize']}, {settings['crop']}: this version knows bicubic and centre"
        )
    return {"image_size": settings["size"], "mean": settings["mean"], "std": settings["std"]}


def _open_session(path: str, threads: int | None):
    try:
        import onnxruntime  # only exported models need it
    except ImportError:
        raise FileNotFoundError("exported models run on ONNX Runtime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class but this one
        raise ValueError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot run it, which needs opset {OPSET}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from None
