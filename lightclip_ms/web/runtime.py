"""onnxruntime-web: which version the page runs on, where its three files are kept, and how they come there."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from lightclip_ms.runtime.files import replacing, sha256

VERSION = "1.30.0"
FOLDER = f"onnxruntime-web-{VERSION}"
FILES = {  # those of dist/ that run on the CPU; SHA-256
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
PACKAGE_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # base64
PACKAGE_MEGABYTES = 33
_PUBLIC_REGISTRY = "https://registry.npmjs.org/"
_TIMEOUT = 60  # seconds without an answer
_DIST = "package/dist"


def runtime_folder(export: str | os.PathLike) -> Path:
    """Where the runtime of an exported folder is kept: beside it, so that exporting again leaves it alone."""
    return Path(export).resolve().parent / FOLDER


def check_runtime(folder: Path) -> dict[str, Path]:
    """Name -> path of the runtime's files in a folder.

    Raises:
        FileNotFoundError: one is missing. ValueError: one is of another version.
    """
    for name, checksum in FILES.items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file; it is part of onnxruntime-web {VERSION}")
        if sha256(folder / name) != checksum:
            raise ValueError(f"{folder / name}: not the file of onnxruntime-web {VERSION}, which this page is made for")
    return {name: folder / name for name in FILES}


def copy_runtime(source: Path, target: Path) -> None:
    """Copy the runtime's files from a folder that holds them, such as node_modules/onnxruntime-web/dist.

    Raises:
        FileNotFoundError, ValueError: as `check_runtime` of `source`. OSError: `target` cannot be written.
    """
    for name, path in check_runtime(source).items():
        target.mkdir(parents=True, exist_ok=True)
        with replacing(target / name) as aside:
            shutil.copyfile(path, aside)


def fetch_runtime(target: Path) -> None:
    """Download the npm package and keep the runtime's files in `target`.

    Raises:
        OSError: the registry cannot be reached, or `target` cannot be written. ValueError: it sent something else.
    """
    address = f"{_registry().rstrip('/')}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    with tempfile.TemporaryDirectory() as work:
        package = Path(work, "package.tgz")
        digest = _download(address, package)
        if digest != PACKAGE_SHA512:
            raise ValueError(f"{address}: its checksum is not that of onnxruntime-web {VERSION}; nothing was kept")
        with tarfile.open(package) as archive:
            for name in FILES:
                with archive.extractfile(f"{_DIST}/{name}") as member, open(Path(work, name), "wb") as file:
                    shutil.copyfileobj(member, file)
        copy_runtime(Path(work), target)


def _download(address: str, path: Path) -> str:
    """Save what `address` answers; returns its SHA-512 in base64."""
    digest = hashlib.sha512()
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer, open(path, "wb") as file:
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        raise OSError(
            f"{address} could not be downloaded ({getattr(error, 'reason', error)}); --runtime DIST takes "
            f"onnxruntime-web {VERSION} from a folder that holds its dist files"
        ) from None
    return base64.b64encode(digest.digest()).decode()


def _registry() -> str:
    """The npm registry that this machine is set up for, else the public one."""
    if npm := shutil.which("npm"):
        answer = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, check=False)
        if answer.stdout.strip().startswith("http"):
            return answer.stdout.strip()
    return os.environ.get("npm_config_registry") or os.environ.get("NPM_CONFIG_REGISTRY") or _PUBLIC_REGISTRY
