"""The command that serves the page: scripts/serve_demo.py and `python -m lightclip_ms.web`."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lightclip_ms.runtime.exits import main_guard
from lightclip_ms.web import runtime
from lightclip_ms.web.first_export import export_place, provide_export
from lightclip_ms.web.routes import site_routes
from lightclip_ms.web.server import open_server

PORT = 8765


@main_guard
def main() -> int:
    """Parse the command line, make what is missing, and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="Show a page that runs a model in the browser: name a picture, or search pictures with a text.",
        epilog="The page is served to this computer only, and nothing that it is given leaves the browser.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        default="runs/demo",
        metavar="FOLDER",
        help="an exported folder, or a checkpoint or a run's folder, which is exported first (default %(default)s)",
    )
    parser.add_argument(
        "--pictures",
        nargs="+",
        default=[],
        metavar="PATH",
        help="sample pictures: files, folders, or a .tar, .csv or .tsv with captions, such as demo_data/val.tar",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--fetch-runtime",
        action="store_true",
        help=f"download onnxruntime-web {runtime.VERSION} once ({runtime.PACKAGE_MEGABYTES} MB, from the npm registry) "
        "and keep it beside the exported folder",
    )
    how.add_argument(
        "--runtime",
        metavar="DIST",
        help="take it from a folder instead, such as node_modules/onnxruntime-web/dist",
    )
    parser.add_argument("--port", type=int, default=PORT, help="0: any free one (default %(default)s)")
    arguments = parser.parse_args()

    tell = partial(print, flush=True)
    export = export_place(arguments.folder)
    kept = provide_runtime(export, arguments.fetch_runtime, arguments.runtime, tell)
    provide_export(arguments.folder, export, tell)
    with open_server(site_routes(export, kept, arguments.pictures), arguments.port) as server:
        tell(f"http://localhost:{server.server_address[1]}/   (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def provide_runtime(export: Path, fetch: bool, source: str | None, tell: Callable[[str], None]) -> Path:
    """The folder with onnxruntime-web for an export, filled first from the npm registry or from `source` if asked.

    Raises:
        FileNotFoundError: it is not there and was not asked for. OSError, ValueError: see `runtime`.
    """
    kept = runtime.runtime_folder(export)
    if source is not None:
        runtime.copy_runtime(Path(source), kept)
    try:
        runtime.check_runtime(kept)
    except (FileNotFoundError, ValueError):
        if not fetch:
            raise FileNotFoundError(
                f"{kept}: onnxruntime-web {runtime.VERSION} is not there yet; run this command again with "
                f"--fetch-runtime to download it ({runtime.PACKAGE_MEGABYTES} MB), or with --runtime DIST to copy it"
            ) from None
        tell(f"downloading onnxruntime-web {runtime.VERSION} into {kept}")
        runtime.fetch_runtime(kept)
    return kept
