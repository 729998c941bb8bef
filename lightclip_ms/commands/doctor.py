"""Check this machine before a run: what is installed, set and free, and one collective over all ranks.

Prints one line per check with "ok" or what to do. The exit code is 0 if all is well, 1 if not. Nothing is changed.
"""

import argparse
import tempfile

from lightclip_ms.runtime.backend import DEVICES
from lightclip_ms.runtime.doctor import Finding, examine
from lightclip_ms.runtime.exits import main_guard
from lightclip_ms.runtime.launch import default_devices, free_port, launch


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=DEVICES, default="auto", help="as in the configuration")
    parser.add_argument("--output-dir", default="runs", help="where runs will be written (default: %(default)s)")
    parser.add_argument("--ranks", type=int, metavar="N", help="processes that meet (default: one per device; 0: none)")
    options = parser.parse_args()
    findings = examine(options.device, options.output_dir)
    findings.append(Finding("free port", str(free_port())))
    print(*findings, sep="\n", flush=True)
    if any(finding.advice for finding in findings) or options.ranks == 0:
        return int(any(finding.advice for finding in findings))
    with tempfile.TemporaryDirectory() as folder:
        ranks = options.ranks or default_devices(options.device)
        code = launch(["-m", "lightclip_ms.runtime.meet", options.device], ranks, folder, options.device)
    met = Finding("collective", f"{ranks} rank(s)", "see the lines above; GLOG_v=1 shows more" if code else "")
    print(met, flush=True)
    return int(bool(code))
