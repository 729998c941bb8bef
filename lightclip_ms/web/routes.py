"""Every address of the page: its own files, the exported model's, the runtime's and the sample pictures."""

from collections.abc import Callable
from pathlib import Path

from lightclip_ms.export.manifest import NAME, check_file, read_manifest
from lightclip_ms.web.runtime import check_runtime
from lightclip_ms.web.samples import sample_routes

PAGE = Path(__file__).parent / "page"


def site_routes(export: Path, runtime: Path, pictures: list[str]) -> dict[str, Path | Callable[[], bytes]]:
    """What `server.open_server` serves; paths in the page are relative, so a folder of the same files works as well.

    Args:
        export: folder that `scripts/export.py` wrote. runtime: folder with onnxruntime-web. pictures: see `samples`.

    Raises:
        FileNotFoundError: a file or folder is missing. ValueError: one was changed, or is of another version.
    """
    manifest = read_manifest(export)
    routes: dict[str, Path | Callable[[], bytes]] = {f"/{path.name}": path for path in PAGE.iterdir()}
    routes["/"] = PAGE / "index.html"
    routes[f"/model/{NAME}"] = export / NAME
    routes |= {f"/model/{name}": Path(check_file(export, manifest, name)) for name in needed_files(manifest)}
    routes |= {f"/runtime/{name}": path for name, path in check_runtime(runtime).items()}
    return routes | sample_routes(pictures)


def needed_files(manifest: dict) -> list[str]:
    """Files of the export that the page loads: the merges and each tower in its default precision."""
    towers = [manifest["onnx"][tower] for tower in ("image", "text")]
    return [manifest["tokenizer"]["merges"], *(tower["files"][tower["default"]] for tower in towers)]
