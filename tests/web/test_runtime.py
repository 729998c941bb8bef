"""Where onnxruntime-web comes from: the registry is a local server, the package three small files."""

import base64
import hashlib
import io
import tarfile

import pytest

from lightclip_ms.web import runtime

CONTENTS = {name: f"// {name}".encode() for name in runtime.FILES}


def package(contents: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def registry(serve, monkeypatch):
    """Serves the package, whose checksums are the pinned ones; its address can be had as `registry.address`."""
    body = package(CONTENTS)
    monkeypatch.setattr(runtime, "FILES", {name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()})
    monkeypatch.setattr(runtime, "PACKAGE_SHA512", base64.b64encode(hashlib.sha512(body).digest()).decode())
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    with serve({f"/onnxruntime-web/-/onnxruntime-web-{runtime.VERSION}.tgz": lambda: body}) as address:
        monkeypatch.setenv("npm_config_registry", address)
        yield address


def test_the_package_is_fetched_from_the_configured_registry(registry, tmp_path):
    runtime.fetch_runtime(tmp_path / "new" / "runtime")
    paths = runtime.check_runtime(tmp_path / "new" / "runtime")
    assert {name: path.read_bytes() for name, path in paths.items()} == CONTENTS
    assert len(list((tmp_path / "new" / "runtime").iterdir())) == len(CONTENTS)


def test_another_package_is_not_kept(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "PACKAGE_SHA512", "another")
    with pytest.raises(ValueError, match="checksum is not that of onnxruntime-web .* nothing was kept"):
        runtime.fetch_runtime(tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/", "nonsense"])
def test_a_registry_that_cannot_be_reached(registry, tmp_path, monkeypatch, address):
    monkeypatch.setenv("npm_config_registry", address)
    with pytest.raises(OSError, match="could not be downloaded .*--runtime DIST"):
        runtime.fetch_runtime(tmp_path / "runtime")


def test_a_registry_without_the_package(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "VERSION", "0.0.1")
    with pytest.raises(OSError, match="0.0.1.tgz could not be downloaded .*Not Found"):
        runtime.fetch_runtime(tmp_path / "runtime")


def test_a_folder_is_copied_or_refused(registry, tmp_path):
    source = tmp_path / "dist"
    source.mkdir()
    for name, content in CONTENTS.items():
        (source / name).write_bytes(content)
    runtime.copy_runtime(source, tmp_path / "runtime")
    assert runtime.check_runtime(tmp_path / "runtime")
    name = next(iter(CONTENTS))
    (source / name).write_bytes(b"// another version")
    with pytest.raises(ValueError, match=f"{name}: not the file of onnxruntime-web {runtime.VERSION}"):
        runtime.copy_runtime(source, tmp_path / "runtime")
    (source / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: no such file; it is part of onnxruntime-web"):
        runtime.copy_runtime(source, tmp_path / "runtime")
