"""Which build this worker is. Nothing here imports PyTorch, which takes seconds."""

import hashlib
import importlib.util
import os
import platform
import re


def torch_version():
    """The installed PyTorch's version, or None where there is none."""
    found = importlib.util.find_spec("torch")
    if not found or not found.submodule_search_locations:
        return None
    path = os.path.join(found.submodule_search_locations[0], "version.py")
    try:
        with open(path, encoding="utf-8") as file:
            match = re.search(r"^__version__ = '(.*)'", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return "unknown"
    return match.group(1) if match else "unknown"


def build():
    """The scripts' digest, and the interpreter's and PyTorch's version."""
    here = os.path.dirname(os.path.abspath(__file__))
    names = ["../torch_worker.py"] + sorted(
        name for name in os.listdir(here) if name.endswith(".py"))
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0")
        with open(os.path.join(here, name), "rb") as file:
            digest.update(file.read())
    return (f"sha256:{digest.hexdigest()} "
            f"{platform.python_implementation().lower()}-{platform.python_version()} "
            f"torch-{torch_version() or 'none'}")
