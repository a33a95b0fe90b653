"""requirements.lock from requirements.txt: what pip resolves it to on this Python and machine, with hashes. Installs nothing.

    python lock.py && pip install --require-hashes -r requirements.lock
"""
from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    resolve = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    report = json.loads(subprocess.run([*resolve, "-r", str(HERE / "requirements.txt")], check=True, stdout=subprocess.PIPE).stdout)
    found = {p["metadata"]["name"].lower(): (p["metadata"]["version"], p["download_info"]["archive_info"]["hashes"]["sha256"])
             for p in report["install"]}
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    lines = [f"# Made by lock.py from requirements.txt for {system}."]
    lines += [f"{name}=={version} --hash=sha256:{digest}" for name, (version, digest) in sorted(found.items())]
    (HERE / "requirements.lock").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
