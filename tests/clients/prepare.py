"""Installs the clients the endpoint is tried with: `python tests/clients/prepare.py FOLDER`.

A virtual environment and a node_modules of their own, for what does not fit into ours.
`DISTILL_CLIENTS=FOLDER pytest tests/server/test_vllm_serve.py` runs the scripts beside this one
against a real vLLM; without the variable they are skipped.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PYTHON = ("mlflow-skinny==3.17.2", "openai-agents==0.24.0")
NODE = ("openai@7.57.0",)


def main(folder: Path) -> None:
    """Install everything into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *PYTHON], check=True)
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
    subprocess.run([*npm, *NODE], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
