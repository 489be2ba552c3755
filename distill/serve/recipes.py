"""The command to read, and files that keep an endpoint up: a systemd unit, a Compose file.

Both run `distill serve` with the checks and the gateway, never vLLM alone. Keys are named, not
written: systemd reads them from an environment file, Compose passes the variables on.
"""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from distill import __version__
from distill.errors import ServeError
from distill.serve.address import Address
from distill.serve.command import vllm_command, vllm_environment
from distill.serve.deployment import Deployment

IMAGE = "vllm/vllm-openai"

UNIT = """\
# Install: sudo cp {file} /etc/systemd/system/ && sudo systemctl enable --now {file}
[Unit]
Description=distill: {names} at {url}
After=network-online.target
Wants=network-online.target

[Service]
User={user}
WorkingDirectory={folder}
# NAME=value lines with the API keys; readable by root alone.
EnvironmentFile=-/etc/distill/{stem}.env
ExecStart={command}
KillMode=mixed
TimeoutStopSec=60
Restart=on-failure
RestartSec=10
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=full

[Install]
WantedBy=multi-user.target
"""


def shown_command(target: Deployment) -> str:
    """Return vLLM's command line, to be read; socket, template and key are made at each start."""
    address = Address(Path("SOCKET"), "")
    ours = vllm_environment(target, address)
    hidden = ("VLLM_API_KEY",)
    words = [
        f"{name}={shlex.quote(value)}"
        for name, value in ours.items()
        if os.environ.get(name) != value and name not in hidden
    ]
    return " ".join([*words, shlex.join(vllm_command(target, address))])


def write_recipe(
    path: Path, target: Deployment, targets: Sequence[Path], options: Sequence[str]
) -> None:
    """Write a file that keeps the deployment served.

    Args:
        path: Where; its ending says what: .service, .yaml or .yml.
        target: What is served.
        targets: The command line's configs and runs.
        options: The command line's options.

    Raises:
        ServeError: The ending is another, or the file cannot be written.
    """
    if path.suffix == ".service":
        text = _unit(path, target, targets, options)
    elif path.suffix in (".yaml", ".yml"):
        text = _compose(target, targets, options)
    else:
        raise ServeError(f"--write {str(path)!r}: end it in .service (systemd) or .yaml (Compose)")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ServeError(f"cannot write {str(path)!r}: {error.strerror}") from error


def _unit(path: Path, target: Deployment, targets: Sequence[Path], options: Sequence[str]) -> str:
    words = [sys.executable, "-m", "distill", "serve", *_absolute(targets), *options]
    return UNIT.format(
        file=path.name,
        stem=path.stem,
        names=", ".join(target.names),
        url=target.url,
        user=getpass.getuser(),
        folder=Path.cwd(),
        command=shlex.join(words).replace("%", "%%").replace("$", "$$"),
    )


def _compose(target: Deployment, targets: Sequence[Path], options: Sequence[str]) -> str:
    port, key = target.settings.port, target.settings.api_key_env
    if key is None:
        raise ServeError(
            "in a container the endpoint listens on every address, so it needs a key: set "
            "serve.api_key_env"
        )
    folders = {str(Path.cwd()), str(target.run_dir), *(str(_folder(path)) for path in targets)}
    folders |= {target.base} if Path(target.base).is_dir() else set()
    variables = [key]
    if target.teacher and target.teacher.api_key_env and target.settings.on_invalid:
        variables.append(target.teacher.api_key_env)
    words = ["distill", "serve", *_absolute(targets), *options, "--host", "0.0.0.0"]
    service = {
        "build": {
            "dockerfile_inline": f"FROM {IMAGE}\nRUN pip install 'tool-distill=={__version__}'\n"
        },
        "entrypoint": [word.replace("$", "$$") for word in words],
        "working_dir": str(Path.cwd()),
        "environment": variables,
        "ports": [f"127.0.0.1:{port}:{port}"],
        "volumes": [f"{folder}:{folder}" for folder in sorted(folders)],
        "ipc": "host",
        "restart": "on-failure",
        "healthcheck": {
            "test": ["CMD", "curl", "-fs", f"http://127.0.0.1:{port}/health"],
            "start_period": "30m",
        },
        "deploy": {
            "resources": {
                "reservations": {
                    "devices": [
                        {
                            "driver": "nvidia",
                            "count": target.settings.replicas,
                            "capabilities": ["gpu"],
                        }
                    ]
                }
            }
        },
    }
    return yaml.safe_dump({"services": {"student": service}}, sort_keys=False)


def _absolute(targets: Sequence[Path]) -> list[str]:
    return [str(path.resolve()) for path in targets]


def _folder(path: Path) -> Path:
    resolved = path.resolve()
    return resolved if resolved.is_dir() else resolved.parent
