"""WebAssembly by Wasmtime: computation only, with fuel for its time and a cap on its memory."""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .limits import Limits
from .wire import escaped, failure

if TYPE_CHECKING:
    from .wire import Ask

#: units of fuel for a millisecond: several times what a core does, so that the clock is met first where code is fast
_FUEL = 5_000_000
_KEPT = 8
_TABLES = 1 << 20
_LONGEST_FILE = 1 << 28
#: names of a function that is the module, in order
_NAMES = ("run", "main")


class Wasm:
    """Wasmtime: a module is text (WAT) or base64; compiled once and kept, with a fresh store for each call."""

    def __init__(self) -> None:
        self._engine: ModuleType = __import__("wasmtime")
        config = self._engine.Config()
        config.consume_fuel = True
        config.epoch_interruption = True
        config.parallel_compilation = False
        self._wasm = self._engine.Engine(config)
        self._modules: dict[str, Any] = {}
        # a module's code and memories are reserved address space: only what is written counts
        self._limits = Limits("data", spare=512 << 20, threads=2)

    def confine(self) -> None:
        """Standard input and output of a module are files, which must not fill the disk."""
        self._limits.small_files(_LONGEST_FILE)

    def prepare(self) -> None:
        """Nothing: every call has a store of its own."""

    def __call__(self, body: bytes, seconds: float, memory: int, longest: int, _ask: Ask) -> bytes:
        request = json.loads(body)
        names = request["names"]
        given = names.get("input") if set(names) <= {"input"} else names
        timer = threading.Timer(seconds, self._wasm.increment_epoch)
        timer.daemon = True
        with self._limits.around(seconds, 2 * memory + 4 * len(body)):
            try:
                module = self._module(request["code"])
            except (ValueError, self._engine.WasmtimeError) as error:
                return _failed("syntax", str(error))
            timer.start()
            try:
                answer = self._run(module, given, seconds, memory, longest)
            except MemoryError:
                return failure("memory")
            except self._engine.Trap as trap:
                return self._trapped(trap)
            except self._engine.ExitTrap as ended:
                return _failed("thrown", f"it ended itself with exit code {ended.code}")
            except _Result as problem:
                return _failed("result", str(problem))
            except (self._engine.WasmtimeError, TypeError) as error:
                text = str(error)
                return failure("memory") if "memory" in text and "limit" in text else _failed("thrown", text)
            finally:
                timer.cancel()
        if len(answer) > longest:
            return _failed("result", f"it has {len(answer):,} bytes of JSON, and {longest:,} is the most")
        return b'{"value":' + answer + b"}"

    def _module(self, code: str) -> Any:
        found = self._modules.get(code)
        if found is None:
            if code.lstrip().startswith("("):
                found = self._engine.Module(self._wasm, code)
            else:
                try:
                    binary = base64.b64decode(code, validate=True)
                except (binascii.Error, ValueError):
                    raise ValueError(
                        "it is neither WebAssembly text, which begins with (module …), nor base64"
                    ) from None
                found = self._engine.Module(self._wasm, binary)
            if len(self._modules) >= _KEPT:
                self._modules.pop(next(iter(self._modules)))
            self._modules[code] = found
        return found

    def _run(self, module: Any, given: Any, seconds: float, memory: int, longest: int) -> bytes:
        store = self._engine.Store(self._wasm)
        store.set_limits(memory_size=memory, table_elements=_TABLES, instances=1, memories=1, tables=8)
        store.set_fuel(max(1, int(seconds * 1_000) * _FUEL))
        store.set_epoch_deadline(1)
        imported = {item.module for item in module.imports}
        exported = {item.name: item.type for item in module.exports}
        if imported - {"wasi_snapshot_preview1"}:
            raise TypeError(
                f"it imports {', '.join(sorted(imported))}, and there is nothing but wasi_snapshot_preview1 to import"
            )
        if "_start" in exported:
            return self._command(module, store, given, longest)
        if imported:
            raise TypeError("it imports wasi_snapshot_preview1 and has no _start: it is no command")
        return self._function(module, store, exported, given)

    def _command(self, module: Any, store: Any, given: Any, longest: int) -> bytes:
        """A command, as compilers make it: JSON on its standard input, JSON on its standard output."""
        with tempfile.TemporaryDirectory(prefix="dataflows-") as folder:
            source, target = os.path.join(folder, "in"), os.path.join(folder, "out")  # noqa: PTH118
            with open(source, "wb") as file:  # noqa: PTH123
                file.write(json.dumps(given).encode())
            wasi = self._engine.WasiConfig()
            wasi.stdin_file = source
            wasi.stdout_file = target
            store.set_wasi(wasi)
            linker = self._engine.Linker(self._wasm)
            linker.define_wasi()
            instance = linker.instantiate(store, module)
            try:
                instance.exports(store)["_start"](store)
            except self._engine.ExitTrap as ended:
                if ended.code:
                    raise
            with open(target, "rb") as file:  # noqa: PTH123
                said = file.read(longest + 1)
        try:
            return json.dumps(json.loads(said)).encode() if said.strip() else b"null"
        except ValueError:
            raise _Result(f"it wrote something that is no JSON: {said[:100]!r}") from None

    def _function(self, module: Any, store: Any, exported: dict[str, Any], given: Any) -> bytes:
        """A function of numbers: a list of them goes in in order, an object by no name, a number alone."""
        name = next((each for each in _NAMES if each in exported), None)
        if name is None:
            raise TypeError("it exports none of _start, run and main, so that there is nothing to call")
        kind = exported[name]
        if not isinstance(kind, self._engine.FuncType):
            raise TypeError(f"what it exports as {name!r} is no function")
        values = given if isinstance(given, list) else [] if given is None else [given]
        wanted = [str(each) for each in kind.params]
        if len(values) != len(wanted) or not all(map(_is_number, values)):
            raise TypeError(f"{name} takes {len(wanted)} numbers ({', '.join(wanted)}), {_input(given)}")
        numbers = [float(value) if each[0] == "f" else value for value, each in zip(values, wanted, strict=True)]
        if any(isinstance(value, float) and each[0] == "i" for value, each in zip(numbers, wanted, strict=True)):
            raise TypeError(
                f"{name} takes whole numbers ({', '.join(wanted)}), and the input is {json.dumps(given)[:200]}"
            )
        result = self._engine.Instance(store, module, []).exports(store)[name](store, *numbers)
        several = list(result) if isinstance(result, list | tuple) else result
        try:
            return json.dumps(several, allow_nan=False).encode()
        except ValueError:
            raise _Result(f"it is {several!r}, which has no JSON") from None

    def _trapped(self, trap: Any) -> bytes:
        code, names = trap.trap_code, self._engine.TrapCode
        if code in (names.INTERRUPT, names.OUT_OF_FUEL):
            return failure("timeout")
        return _failed("thrown", str(trap.message).strip().split("\n")[-1])


class _Result(Exception):
    """What came out cannot be used."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _input(given: Any) -> str:
    return f"and the input is {json.dumps(given)[:200]}"


def _failed(kind: str, message: str) -> bytes:
    text = message if len(message) <= 4_000 else message[:4_000]
    return f'{{"error":{{"kind":{escaped(kind)},"name":"","message":{escaped(text)}}}}}'.encode()
