"""How the server is told what to do: flags, else the environment, else a TOML file, else defaults."""

import argparse
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_args

from server.errors import StartError
from server.handshake import default_home
from server.limits import Limits
from server.log import LogFormat

LOCAL = "local"
CLUSTER_SCHEME = "ray://"
ANIMATE = "server.animation_job:animate_job"
VARIABLE_PREFIX = "GVF_SERVER_"
SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class ServerOptions:
    """How to run.

    Attributes:
        handshake: Where the handshake file goes.
        data: Folder of uploads, results and jobs.
        host: Address to listen on.
        allowed_hosts: Names, besides the address, under which requests may ask for the server.
        port: 0 lets the operating system choose.
        token: The bearer token; None for a random one.
        parent_pid: Process whose end ends the server.
        log_format: Lines for people, or one JSON object per line.
        limits: What the server takes on.
        job_function: "module:function" that the worker runs for each job.
        probes_media: Whether uploads are looked into before a job is queued.
        gpus: GPUs that get a worker each; None for all that there are.
        executor: "local", or the address of a Ray cluster: "ray://HOST:PORT".
        cluster_workers: Jobs at the same time on the cluster.
        cluster_memory_gb: Memory that each of them reserves there, in gigabytes (10^9 bytes).
    """

    handshake: Path
    data: Path
    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    port: int = 0
    token: str | None = field(default=None, repr=False)
    parent_pid: int | None = None
    log_format: LogFormat = "text"
    limits: Limits = field(default_factory=Limits)
    job_function: str = ANIMATE
    probes_media: bool = True
    gpus: tuple[str, ...] | None = None
    executor: str = LOCAL
    cluster_workers: int = 1
    cluster_memory_gb: float = 0.0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host == "localhost" or ip_address(self.host).is_loopback


def read_options(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> ServerOptions:
    """What flags, environment and configuration file say together.

    Raises:
        StartError: A value cannot be used; the sentence names it.
        SystemExit: A flag is unknown, or help was asked for.
    """
    flags = {name: value for name, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    prefix = VARIABLE_PREFIX
    variables = {
        name.removeprefix(prefix).lower(): value for name, value in environment.items() if name.startswith(prefix)
    }
    given = flags.get("config") or variables.get("config")
    usual = default_home() / "server.toml"
    file = _read_file(Path(given)) if given else _read_file(usual) if usual.is_file() else {}
    values = {**file, **variables, **flags}
    values.pop("config", None)
    return _options(values)


def _parser() -> argparse.ArgumentParser:
    home = default_home()
    parser = argparse.ArgumentParser(
        prog="gvf serve",
        description="Computes animations for the Blender extension.",
        epilog=f"Each option can also be set as {VARIABLE_PREFIX}NAME in the environment or in the TOML file, with "
        "underscores instead of hyphens.",
    )
    add = parser.add_argument
    add("--config", metavar="FILE", help=f"TOML file with options (default: {home / 'server.toml'}, if there is one)")
    add("--handshake", metavar="FILE", help=f"tells clients address and token (default: {home / 'server.json'})")
    add("--data", metavar="DIR", help=f"uploads, results and jobs (default: {home / 'server'})")
    add("--host", metavar="ADDRESS", help="address to listen on; other than 127.0.0.1 needs a token of your own")
    add("--allowed-hosts", metavar="NAMES", help="comma-separated names under which requests may ask for the server")
    add("--port", metavar="N", help="0, the default, lets the system choose")
    add("--token-file", metavar="FILE", help="file whose first line is the token (default: a random token)")
    add("--parent-pid", metavar="PID", help="stop when the process with this id has ended")
    add("--log-format", metavar="FORMAT", help="text or json")
    for limit in fields(Limits):
        flag = f"--max-{limit.name.replace('_', '-')}"
        add(flag, metavar="N", help=f"{limit.metadata['help']} (default: {limit.default:,})")
    add("--gpus", metavar="LIST", help="comma-separated GPUs that get a worker each (default: all that there are)")
    add("--executor", metavar="WHERE", help="local, or a Ray cluster: ray://HOST:PORT (extra: ray)")
    add(
        "--cluster-workers",
        metavar="N",
        help="jobs at once on the cluster: the number of its GPUs (default: 1)",
    )
    add("--cluster-memory-gb", metavar="N", help="memory that each of them reserves there (default: 0, none)")
    add("--job-function", help=argparse.SUPPRESS)
    add("--unprobed", action="store_const", const=True, help=argparse.SUPPRESS)
    return parser


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StartError(f"The configuration {path} cannot be read ({error}).", "Correct or remove it.") from error


def _options(values: dict[str, Any]) -> ServerOptions:
    home = default_home()
    limits = {}
    for limit in fields(Limits):
        value = values.pop(f"max_{limit.name}", None)
        if value is not None:
            limits[limit.name] = _number(f"max_{limit.name}", value, limit.type)
    token, token_file = values.pop("token", None), values.pop("token_file", None)
    token = _token(token if token_file is None else _first_line(Path(str(token_file))))
    parent_pid = values.pop("parent_pid", None)
    hosts, gpus = values.pop("allowed_hosts", ()), values.pop("gpus", None)
    options = ServerOptions(
        handshake=Path(str(values.pop("handshake", home / "server.json"))).absolute(),
        data=Path(str(values.pop("data", home / "server"))).absolute(),
        host=_host(str(values.pop("host", "127.0.0.1"))),
        allowed_hosts=_list(hosts),
        port=_number("port", values.pop("port", 0), int),
        token=token,
        parent_pid=None if parent_pid is None else _number("parent_pid", parent_pid, int),
        log_format=_choice("log_format", values.pop("log_format", "text"), get_args(LogFormat)),
        limits=Limits(**limits),
        job_function=values.pop("job_function", ANIMATE),
        probes_media=not values.pop("unprobed", False),
        gpus=None if gpus is None else _list(gpus),
        executor=_executor(values.pop("executor", LOCAL)),
        cluster_workers=_number("cluster_workers", values.pop("cluster_workers", 1), int),
        cluster_memory_gb=_number("cluster_memory_gb", values.pop("cluster_memory_gb", 0), float),
    )
    if values:
        raise StartError(f"There is no option {min(values)!r}.", "`gvf serve --help` lists them.")
    if options.cluster_workers < 1:
        raise StartError(f"The option --cluster-workers is {options.cluster_workers}.", "Give at least 1.")
    if not options.is_local and token is None:
        raise StartError(
            f"The server would listen on {options.host}, where others can reach it.",
            f"Give a token of your own with --token-file or {VARIABLE_PREFIX}TOKEN.",
        )
    return options


def _list(value: Any) -> tuple[str, ...]:
    """From a flag or variable, or from a list in the file."""
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(str(part).strip() for part in parts)


def _number(name: str, value: Any, kind: Any) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise StartError(f"The option --{name.replace('_', '-')} is {value!r}.", "Give a number.") from None


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise StartError(f"The option {name} is {value!r}.", f"Choose one of {', '.join(choices)}.")
    return value


def _executor(executor: Any) -> str:
    if executor != LOCAL and not str(executor).startswith(CLUSTER_SCHEME):
        raise StartError(f"There is no executor {executor!r}.", f"Use {LOCAL}, or {CLUSTER_SCHEME}HOST:PORT.")
    if executor != LOCAL and find_spec("ray") is None:
        raise StartError("Ray is not installed.", f'Install it: "{sys.executable}" -m pip install "gvf-blender[ray]"')
    return str(executor)


def _host(host: str) -> str:
    try:
        return host if host == "localhost" else str(ip_address(host))
    except ValueError:
        raise StartError(f"{host!r} is no address to listen on.", "Give one like 127.0.0.1 or 0.0.0.0.") from None


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise StartError(f"The token file {path} cannot be read ({error}).", "Choose another --token-file.") from error


def _token(token: Any) -> str | None:
    if token is None:
        return None
    token = str(token)
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise StartError(
            f"The token has {len(token)} characters.", f"Use at least {SHORTEST_TOKEN} printable ASCII characters."
        )
    return token
