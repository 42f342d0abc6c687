"""What the graph of a network depends on, as a digest: the name under which it is kept."""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import XAIExplainLib
from XAIExplainLib.compute import exported, graph, graph_json
from XAIExplainLib.compute.graph_json import NotStored

_TENSOR = 1 << 20  # bytes of a tensor that a layer keeps beside its parameters, at most
_DEEP = 6
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_EVERYWHERE = frozenset(torch.nn.Module().__dict__) - {"training"}  # read below, or without influence on the graph
_KNOWN = ("builtins", "torch", "numpy")  # their versions stand in the key


class Key:
    """The digest of all that the export of a network depends on, apart from its weights.

    That is: the code of the layers' classes (the whole files they stand in), their settings, the shapes of their
    parameters, the image's shape and kind, the output, and the versions of torch and of this package.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode.
    x : torch.Tensor
        An image, shape (N, C, *spatial).
    output : int, str or None
        Which element of the network's outputs is the answer.

    Attributes
    ----------
    name : str
        Of the file; "" for a network of which we cannot tell what its graph depends on.
    """

    def __init__(self, network: torch.nn.Module, x: torch.Tensor, output: int | str | None) -> None:
        self._kept: list[torch.Tensor] = []
        digest = hashlib.sha256()
        self.name = ""
        try:
            for part in self._parts(network, x, output):
                digest.update(part.encode("utf-8", "surrogatepass") + b"\n")
        except (NotStored, OSError, TypeError, ValueError, RecursionError):
            return
        self.name = digest.hexdigest()

    def tensors(self) -> str:
        """The digest of the tensors that layers keep as settings, for a graph with numbers of its own.

        Raises
        ------
        NotStored
            If one of them is large.
        """
        digest = hashlib.sha256()
        for tensor in self._kept:
            if tensor.nbytes > _TENSOR or tensor.layout != torch.strided or tensor.is_meta:
                raise NotStored("a large tensor")
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _parts(self, network: torch.nn.Module, x: torch.Tensor, output: int | str | None) -> Iterator[str]:
        versions = (torch.__version__, np.__version__, XAIExplainLib.__version__, sys.version_info[:2], sys.platform)
        yield f"{graph_json.FORMAT} {versions}"
        for own in (exported, graph, graph_json):
            yield _file(own.__file__)
        yield f"{tuple(x.shape[1:])} {x.dtype} {x.device.type} {output!r}"
        yield f"{torch.is_autocast_enabled(x.device.type)} {torch.is_grad_enabled()} {torch.get_default_dtype()}"
        classes: set[type] = set()
        first: dict[int, str] = {}  # names of what is used at several places
        for name, module in network.named_modules(remove_duplicate=False):
            inside, kind = module.__dict__, type(module)
            if any(inside.get(hooks) for hooks in _HOOKS) or isinstance(module, torch.jit.ScriptModule):
                raise NotStored("code that nobody sees")
            yield f"{name} {first.setdefault(id(module), name)} {kind.__module__}.{kind.__qualname__}"
            if kind not in classes:
                classes.add(kind)
                yield _code(kind)
            for place, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    yield f"{place} {first.setdefault(id(tensor), f'{name}.{place}')} {_tensor(tensor)}"
            for place, value in inside.items():
                if place not in _EVERYWHERE:
                    yield f"{place} {self._setting(value)}"

    def _setting(self, value: Any, deep: int = 0) -> str:
        """A layer's setting in words that are the same in the next process."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return f"{type(value).__name__} {value!r}"
        if deep > _DEEP:
            raise NotStored("a setting in settings in settings")
        if isinstance(value, torch.nn.Module):
            return f"module {type(value).__qualname__}"
        if isinstance(value, torch.Tensor):
            self._kept.append(value)
            return _tensor(value)
        if isinstance(value, np.generic | np.ndarray) and not value.dtype.hasobject:
            return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        if isinstance(value, list | tuple):
            return f"{type(value).__name__} [{', '.join(self._setting(one, deep + 1) for one in value)}]"
        if isinstance(value, set | frozenset):
            return f"set {sorted(self._setting(one, deep + 1) for one in value)}"
        if isinstance(value, dict):
            words = [(self._setting(key, deep + 1), self._setting(one, deep + 1)) for key, one in value.items()]
            return f"dict {words}"
        if isinstance(value, type):
            return f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, torch.dtype | torch.device | torch.memory_format | torch.layout | slice | range):
            return repr(value)
        return self._object(value, deep)

    def _object(self, value: Any, deep: int) -> str:
        """A function or another object that a layer keeps."""
        if isinstance(value, functools.partial):
            return f"partial {self._setting((value.func, value.args, value.keywords), deep + 1)}"
        if isinstance(value, types.MethodType):
            return f"method {self._object(value.__func__, deep)}"
        if isinstance(value, types.FunctionType):
            if value.__module__.split(".")[0] in _KNOWN:
                return f"{value.__module__}.{value.__qualname__}"
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            kept = self._setting((cells, value.__defaults__, value.__kwdefaults__), deep + 1)
            code = _home(sys.modules.get(value.__module__))
            return f"{value.__qualname__} {value.__code__.co_firstlineno} {code} {kept}"
        if isinstance(value, types.BuiltinFunctionType):
            return f"{value.__module__}.{value.__qualname__}"
        inside = getattr(value, "__dict__", None)
        if inside is None:
            raise NotStored(f"a setting of type {type(value).__name__}")
        return f"{type(value).__qualname__} {_code(type(value))} {self._setting(inside, deep + 1)}"


def _tensor(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype} {tensor.device.type} {tensor.layout} {tensor.requires_grad}"


def _code(kind: type) -> str:
    """Digest of the code of a class and its bases, apart from those whose version says it."""
    found = []
    for one in kind.__mro__:
        home = one.__module__
        if home.split(".")[0] in _KNOWN:
            if functools.reduce(_attribute, one.__qualname__.split("."), sys.modules.get(home)) is not one:
                raise NotStored("a class that only says that it is known")
        else:
            found.append(f"{home}.{one.__qualname__} {_home(sys.modules.get(home))}")
    return "|".join(found)


def _attribute(home: Any, name: str) -> Any:
    return getattr(home, name, None)


def _home(module: types.ModuleType | None) -> str:
    """Digest of the file of a module, and the version of its package."""
    path = getattr(module, "__file__", None)
    if not path or not path.endswith(".py"):
        raise NotStored("code that has no file")
    top = sys.modules.get(str(getattr(module, "__name__", "")).split(".")[0])
    return f"{getattr(top, '__version__', '')} {_file(path)}"


@functools.cache
def _file(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
