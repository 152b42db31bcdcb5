"""What this machine has: git, a GPU, the CUDA Toolkit's programs; and programs run with a time limit."""

import os
import pathlib
import platform
import re
import signal
import subprocess

from .errors import Failed, NotHere

TOOLKIT = {"ncu": "it comes with the CUDA Toolkit as Nsight Compute", "nvcc": "it comes with the Toolkit",
           "compute-sanitizer": "it comes with the CUDA Toolkit"}


def output(command, merge_stderr=False):
    """(exit code, what it printed) of a program that ends by itself."""
    try:
        result = subprocess.run(list(map(str, command)), text=True, errors="replace", stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT if merge_stderr else subprocess.PIPE)
    except OSError as reason:
        name = str(command[0])
        raise NotHere(f"there is no {name}; {TOOLKIT[name]}" if name in TOOLKIT else
                      f"{name} cannot be run: {reason.strerror}") from None
    return result.returncode, result.stdout if merge_stderr or result.returncode == 0 else \
        result.stdout + result.stderr


def printed(command):
    """What a program prints; it must succeed."""
    code, text = output(command)
    if code != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit {code}: {last_line(text)}")
    return text


def last_line(text):
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def tail(text):
    return "\n".join(text.strip().splitlines()[-20:])


def run(command, timeout, environment=None):
    """(exit code, or None where it had to be killed; stdout; stderr)."""
    # A session of its own: a tool that is killed leaves the program that it started, and a kernel that hangs.
    environment = environment and dict(os.environ, **environment)
    with subprocess.Popen(command, text=True, errors="replace", start_new_session=True, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=timeout)
            return process.returncode, out, err
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return None, out, err


def commit():
    """The checkout's commit; where the sources are not one, ATTENTION_COMMIT says which commit they are."""
    if os.environ.get("ATTENTION_COMMIT"):
        return os.environ["ATTENTION_COMMIT"]
    try:
        code, text = output(["git", "-C", pathlib.Path(__file__).parent, "rev-parse", "HEAD"])
    except NotHere:
        return "unknown"
    return text.strip() if code == 0 else "unknown"


def gpu():
    """"NVIDIA H200, 580.159.04": the first GPU and its driver."""
    nobody = NotHere("no GPU answers (nvidia-smi lists none)")
    try:
        code, text = output(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    except NotHere:
        raise nobody from None
    lines = text.strip().splitlines()
    if code != 0 or not lines or ", " not in lines[0]:
        raise nobody
    return lines[0]


def version(program, pattern):
    found = re.search(pattern, printed([program, "--version"]))
    if not found:
        raise NotHere(f"{program} --version names no version")
    return found[1]


def nvcc_version(nvcc="nvcc"):
    return version(nvcc, r"V([\d.]+)")


def cuda_release():
    return version("nvcc", r"release ([\d.]+)")


def sanitizer_version():
    return version("compute-sanitizer", r"[Vv]ersion ([\d.]+)")


def under_ncu(command, metrics):
    """(what the program and ncu printed, whether they succeeded)."""
    code, text = output(["ncu", "--csv", "--print-units", "base", "--clock-control", "none",
                         "--metrics", ",".join(dict.fromkeys(metrics)), *command], merge_stderr=True)
    return text, code == 0


def sanitize(tool, command, log, timeout):
    """Runs the program under a tool of compute-sanitizer; whether it ended by itself."""
    status, _, _ = run(["compute-sanitizer", "--tool", tool, "--print-limit", "2000", "--log-file", str(log),
                        *map(str, command)], timeout)
    return status is not None


def processor():
    """As the system names it: "AMD EPYC", "x86_64"."""
    try:
        return re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)[1].strip()
    except (OSError, TypeError):
        return platform.machine()
