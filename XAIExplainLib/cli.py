"""The shell: the command ``xaiexplain``. It asks the same engine as the panel, in this process."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from XAIExplainLib import __version__, cli_compare, cli_curves, cli_inspect
from XAIExplainLib.allocator import keep_freed_memory
from XAIExplainLib.console import ProgressLine
from XAIExplainLib.errors import XAIError

USER_ERROR, INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong as every other error of the program is said."""

    def error(self, message: str) -> NoReturn:
        """End with the status of a user's error."""
        raise XAIError(message[:1].upper() + message[1:] + ".", f"See: {self.prog} --help")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        arguments = make_parser().parse_args(words)
        return arguments.run(arguments)
    except XAIError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        print("cancelled: nothing was written.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # as `| head` leaves it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        return 0
    except (MemoryError, RuntimeError) as error:
        from XAIExplainLib.worker import is_out_of_memory, memory_advice

        if not is_out_of_memory(error):
            raise
        return _refuse(memory_advice())


def _refuse(error: XAIError) -> int:
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(textwrap.indent(textwrap.fill(error.hint, _width() - 7), " " * 7), file=sys.stderr)
    return USER_ERROR


def make_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = Parser(
        prog="xaiexplain", description="Why did the network say that? Explanations of networks on 3D medical images."
    )
    parser.add_argument("--version", action="version", version=f"xaiexplain {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    explain = commands.add_parser("explain", help="write a map of why the model answers so")
    _add_case(explain)
    explain.add_argument("--method", required=True, metavar="NAME", help="a method; see: xaiexplain methods")
    explain.add_argument("--output", required=True, metavar="OUT.nrrd", help="NRRD or NIfTI; a JSON is put beside it")
    explain.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="parameters",
        help="a parameter of the method; may be repeated",
    )  # fmt: skip
    _add_run(explain)
    explain.set_defaults(run=_explain)

    compare = commands.add_parser("compare", help="measure several methods on one case, and show them side by side")
    _add_case(compare)
    cli_compare.add_options(compare)
    _add_run(compare)
    compare.set_defaults(run=_compare)

    curves = commands.add_parser("curves", help="insertion and deletion: whether the score follows maps")
    _add_case(curves)
    cli_curves.add_options(curves)
    _add_run(curves)
    curves.set_defaults(run=_curves)

    predict = commands.add_parser("predict", help="say what the model answers")
    _add_case(predict)
    predict.add_argument("--json", action="store_true", help="for programs")
    predict.set_defaults(run=_predict)

    layers = commands.add_parser("layers", help="list the layers that a map can be made at")
    _add_case(layers)
    layers.add_argument("--json", action="store_true", help="for programs")
    layers.set_defaults(run=_layers)

    inspect = commands.add_parser("inspect", help="say what a model takes and gives, and try it")
    cli_inspect.add_options(inspect)
    inspect.set_defaults(run=_inspect)

    for name, text, run in (
        ("methods", "list the methods", _methods),
        ("models", "list the bundled models", _models),
        ("cases", "list the bundled cases", _cases),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--json", action="store_true", help="for programs")
        command.set_defaults(run=run)
    return parser


def _add_case(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--volume", action="append", required=True, metavar="V", dest="volumes",
        help="NRRD, NIfTI, MHA, DICOM folder, or a bundled case; repeat it for further channels",
    )  # fmt: skip
    parser.add_argument(
        "--model", required=True, metavar="M",
        help="a bundled model, TorchScript .pt, torch.export .pt2, MONAI bundle, or a JSON that describes one",
    )  # fmt: skip
    parser.add_argument(
        "--allow-code", action="store_true",
        help="agree to run the code that the model file contains; only for files that you trust",
    )  # fmt: skip
    parser.add_argument("--classes", metavar="A,B", help="names of the model's outputs")
    parser.add_argument("--task", metavar="TASK", help="classification, multilabel, regression or segmentation")
    parser.add_argument(
        "--sliding", metavar="K,J,I",
        help="of a segmenter: ask it by tiles of this size and blend the answers; none: ask about the whole volume",
    )  # fmt: skip
    parser.add_argument("--inputs", metavar="N,N", help="of a network with several inputs: the channels of each")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", metavar="T",
        help="class name or index, region:MASK[:CLASS], voxel:i,j,k[:CLASS], probability:T, difference:A:B or "
        "output:WHICH:T; by default the predicted class",
    )  # fmt: skip
    parser.add_argument("--memory", metavar="SIZE", help="memory that the run may use, for example 4GiB")
    parser.add_argument("--device", metavar="NAME", help="cpu (the default), cuda or mps")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers (default 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")


def _request(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the panel would send."""
    options: dict[str, Any] = {}
    if arguments.classes:
        options["classes"] = [name.strip() for name in arguments.classes.split(",") if name.strip()]
    if arguments.task:
        options["task"] = arguments.task
    if arguments.sliding:
        options["sliding"] = _sliding(arguments.sliding)
    if arguments.inputs:
        try:
            options["inputs"] = [int(number) for number in arguments.inputs.split(",")]
        except ValueError:
            raise XAIError(f"--inputs cannot be {arguments.inputs!r}.", "Give numbers, such as 1,1.") from None
    return {
        "volumes": arguments.volumes, "model": arguments.model, "options": options,
        "consent": arguments.allow_code or None,
    }  # fmt: skip


def _sliding(text: str) -> list[int] | int | bool:
    """The size of the tiles, or False for none."""
    try:
        sizes = [int(number) for number in text.split(",")]
    except ValueError:
        if text == "none":
            return False
        raise XAIError(f"--sliding cannot be {text!r}.", "Give a size, such as 96,96,96, or none.") from None
    return sizes[0] if len(sizes) == 1 else sizes


def _explain(arguments: argparse.Namespace) -> int:
    parameters = dict(_parameter(text) for text in arguments.parameters)
    request = {
        **_request(arguments), "method": arguments.method, "target": arguments.target, "parameters": parameters,
        "output": arguments.output, "memory": arguments.memory, "device": arguments.device, "seed": arguments.seed,
    }  # fmt: skip
    with ProgressLine(sys.stderr, quiet=arguments.quiet) as progress:
        answer = _engine().explain(request, progress)
    if not arguments.quiet:
        for line in _summary(answer):
            print(line)
    return 0


def _summary(answer: dict[str, Any]) -> list[str]:
    display, peak, diagnostics = answer["display"], answer["peak"], answer["diagnostics"]
    place = ", ".join(f"{value:.1f}" for value in peak["lps"])
    lines = [
        f"map:     {answer['map']}",
        f"record:  {answer['record']}",
        f"values:  {display['minimum']:.4g} to {display['maximum']:.4g} ({display['units']})",
        f"peak:    {peak['value']:.4g} at voxel {','.join(map(str, peak['index']))}, LPS ({place}) mm",
    ]
    if diagnostics.get("completeness_error") is not None:
        lines.append(f"error:   {diagnostics['completeness_error']:.2g} of the sum that the theory asks for")
    for warning in diagnostics.get("warnings") or ():
        lines.append(f"warning: {warning}")
    return lines


def _compare(arguments: argparse.Namespace) -> int:
    try:
        with ProgressLine(sys.stderr, quiet=arguments.quiet) as progress:
            lines = cli_compare.compare(_request(arguments), arguments, _engine(), progress)
    except cli_compare.Stopped:
        print(f"cancelled: what was finished is in {arguments.output}.", file=sys.stderr)
        return INTERRUPTED
    if not arguments.quiet:
        print("\n".join(lines))
    return 0


def _curves(arguments: argparse.Namespace) -> int:
    request = {**_request(arguments), **cli_curves.request_of(arguments)}
    with ProgressLine(sys.stderr, quiet=arguments.quiet) as progress:
        answer = _engine().curves(request, progress)
    if arguments.output:
        cli_curves.write(answer, arguments.output)
    if not arguments.quiet:
        print("\n".join(cli_curves.summary(answer)))
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    answer = _engine().predict(_request(arguments), ProgressLine(None))
    print(_json({key: value for key, value in answer.items() if key != "text"}) if arguments.json else answer["text"])
    return 0


def _layers(arguments: argparse.Namespace) -> int:
    layers = _engine().layers(_request(arguments), ProgressLine(None))
    if arguments.json:
        print(_json(layers))
    else:
        _table([(row["name"], row["type"], _shape(row), "default" if row.get("default") else "") for row in layers])
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    found = _engine().inspect(cli_inspect.request(arguments), ProgressLine(None))
    print(_json(found) if arguments.json else "\n".join(cli_inspect.lines(found)))
    return 0


def _shape(row: dict[str, Any]) -> str:
    return "x".join(map(str, row.get("shape") or ()))


def _methods(arguments: argparse.Namespace) -> int:
    cards = _engine().methods({}, ProgressLine(None))
    if arguments.json:
        print(_json(cards))
    else:
        _table([(card["name"], card["title"], card["summary"]) for card in cards])
    return 0


def _models(arguments: argparse.Namespace) -> int:
    return _list(_engine().models({}, ProgressLine(None)), arguments.json)


def _cases(arguments: argparse.Namespace) -> int:
    return _list(_engine().cases({}, ProgressLine(None)), arguments.json)


def _list(rows: list[dict[str, Any]], as_json: bool) -> int:
    if as_json:
        print(_json(rows))
    else:
        _table([(row["name"], row.get("title", ""), row.get("description", "")) for row in rows])
    return 0


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise XAIError(f"The parameter {text!r} is not understood.", "Give it as --set name=value.")
    return name.strip(), value.strip()


def _engine() -> Any:
    """Loaded late: ``--help`` and a wrong word must not wait for torch."""
    keep_freed_memory()
    from XAIExplainLib.engine import LocalEngine

    return LocalEngine()


def _json(value: Any) -> str:
    from XAIExplainLib.protocol import encode

    return json.dumps(json.loads(encode(value)), indent=2, ensure_ascii=False)


def _table(rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as they need to be, the last one wrapped to the window."""
    if not rows:
        return
    widths = [max(len(row[n]) for row in rows) + 2 for n in range(len(rows[0]) - 1)]
    indent = sum(widths)
    room = max(_width() - indent, 30)
    for row in rows:
        start = "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        text = textwrap.wrap(row[-1], room) or [""]
        print((start + text[0]).rstrip())
        for line in text[1:]:
            print(" " * indent + line)


def _width() -> int:
    return shutil.get_terminal_size((110, 24)).columns


if __name__ == "__main__":
    raise SystemExit(main())
