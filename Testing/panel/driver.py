"""What a test does in the module's panel, in a user's words."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

FAKE_ENGINE = Path(__file__).with_name("fakeEngine.py")
MODULE = Path(__file__).resolve().parents[2] / "XAIExplain" / "XAIExplain.py"


class Panel:
    """
    The module in the host.

    :param host: the little Slicer.
    :param folder: where the small engine looks for its orders.
    """

    def __init__(self, host: Any, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self.fake = folder / "python"
        self.fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_ENGINE}" "{folder}"\n')
        self.fake.chmod(0o755)
        self.useInterpreter(str(self.fake))
        host.loadModule(MODULE)

    @property
    def widget(self) -> Any:
        return self.host.moduleWidget

    @property
    def desk(self) -> Any:
        return self.widget.desk

    @property
    def logic(self) -> Any:
        return self.widget.logic

    @property
    def node(self) -> Any:
        return self.desk.parameterNode

    @property
    def message(self) -> str:
        label = self.desk.run.ui.messageLabel
        return str(label.text) if label.visible else ""

    def useInterpreter(self, path: str) -> None:
        import slicer

        slicer.app.settings().setValue("XAIExplain/Interpreter", path)

    def reset(self) -> None:
        """An empty scene, an engine that does nothing wrong, a first-time user."""
        self.order("")
        (self.folder / "requests").unlink(missing_ok=True)
        self.host.enterModule()
        self.host.closeScene()
        self.host.errors.clear()
        self.host.vtkErrors.clear()
        self.host.dialogs.clear()
        self.desk.model._consented.clear()
        self.desk.modelPanel._fileChosen = False
        if not self.desk.catalog.loaded or not self.logic.engine.alive:
            self.desk.restartEngine()
        self.say("")
        self.wait(lambda: self.desk.model.info or self.desk.model.error or self.desk.engineError(), "no engine")

    def say(self, text: str) -> None:
        self.desk.say(text)

    def order(self, mode: str) -> None:
        """Tell the small engine what is to go wrong."""
        written = self.folder / "mode.new"
        written.write_text(mode)
        written.replace(self.folder / "mode")  # at no time is there an empty order, which means: go on

    def requests(self, command: str) -> list[dict[str, Any]]:
        """What the small engine was asked."""
        path = self.folder / "requests"
        lines = path.read_text().splitlines() if path.exists() else []
        return [request for request in map(json.loads, lines) if request["command"] == command]

    def wait(self, condition: Any, message: str, timeout: float = 20) -> None:
        self.host.wait(condition, timeout, f"{message}; the panel says: {self.message}")

    def addVolume(self, name: str = "head", ijkToRAS: Any = None, size: tuple[int, int, int] = (12, 14, 16)) -> Any:
        """A volume with a bright spot off its middle."""
        import slicer

        k, j, i = np.mgrid[: size[0], : size[1], : size[2]]
        array = 100 + 900 * np.exp(-((k - 3) ** 2 + (j - 9) ** 2 + (i - 11) ** 2) / 8.0)
        matrix = np.diag([3.0, 3.0, 3.0, 1.0]) if ijkToRAS is None else ijkToRAS
        node = slicer.util.addVolumeFromArray(array.astype(np.int16), matrix, name)
        self.host.processEvents()
        return node

    def apply(self) -> Any:
        """Press Apply, wait, and return the map."""
        self.press()
        self.wait(lambda: not self.logic.busy, "the run does not end", 60)
        return self.node.mapVolume

    def press(self) -> None:
        button = self.desk.run.ui.applyButton
        self.wait(lambda: button.enabled, "Apply stays disabled")
        self.host.click(button)

    def chooseMethod(self, title: str) -> None:
        """Click the method in the tree, whatever was searched before."""
        if self.desk.method.ui.methodSearchEdit.text:
            self.desk.method.ui.methodSearchEdit.clear()
        self.host.clickRow(self.desk.method.ui.methodTree, title)

    def chooseTarget(self, title: str) -> None:
        """Choose the class or group, whatever probability stands beside it."""
        self.host.setCombo(self.desk.target.ui.targetComboBox, self.titleOf(self.desk.target.ui.targetComboBox, title))

    @staticmethod
    def titleOf(combo: Any, beginning: str) -> str:
        """The combo's one entry that is this, or this and a colon and more."""
        titles = [combo.itemText(index) for index in range(combo.count)]
        (found,) = [title for title in titles if title == beginning or title.startswith(beginning + ": ")]
        return str(found)

    def foregrounds(self) -> set[Any]:
        """What the slice views show on top; one value if all show the same."""
        import slicer

        return {node.GetForegroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}

    def count(self, className: str = "vtkMRMLNode") -> int:
        import slicer

        return int(slicer.mrmlScene.GetNumberOfNodesByClass(className))

    def red(self) -> np.ndarray:
        """The pixels of the red view, without the annotations at its edge."""
        picture = np.asarray(self.host.captureView("Red"), dtype=int)
        return picture[20:-60, 20:-20]


def colored(picture: np.ndarray) -> int:
    """How many pixels are not gray."""
    return int((picture.max(axis=-1) - picture.min(axis=-1) > 40).sum())


def running(pid: int) -> bool:
    """Whether the process is there and is no zombie."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
