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
    if options.ranks == 0:
        return _exit_code(findings)
    if any(finding.advice and not finding.is_reserve for finding in findings):
        findings.append(Finding("collective", "not tried", "do first what the lines above say"))
    else:
        findings.append(_meet(options.ranks or default_devices(options.device), options.device))
    print(findings[-1], flush=True)
    return _exit_code(findings)


def _meet(ranks: int, device: str) -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        code = launch(["-m", "lightclip_ms.runtime.meet", device], ranks, folder, device)
    return Finding("collective", f"{ranks} rank(s)", "see the lines above; GLOG_v=1 shows more" if code else "")


def _exit_code(findings: list[Finding]) -> int:
    return int(any(finding.advice for finding in findings))
