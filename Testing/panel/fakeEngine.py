"""An engine without a network, for tests of the panel: speaks the protocol, answers at once, and makes a map by a rule.

Started as `fakeEngine.py FOLDER` in the place of the real worker. The file FOLDER/mode says what is to go wrong.
"""

import base64
import json
import os
import sys
import threading
import time
from pathlib import Path

CARDS = [
    {"name": "grad_cam", "title": "Grad-CAM", "family": "Backpropagation", "signed": False, "parameters": [
        {"name": "layer", "kind": "layer", "default": None, "help": "The layer whose map is shown."}]},
    {"name": "gradient", "title": "Gradient", "family": "Backpropagation", "signed": True, "parameters": [],
     "citation": "Simonyan, Zisserman, 2014"},
    {"name": "shap", "title": "SHAP", "family": "Perturbation", "signed": True, "parameters": [
        {"name": "background", "kind": "list", "default": ["blur"], "help": "What the case is compared with.",
         "of": "volume"},
        {"name": "models", "kind": "list", "default": [], "help": "Further networks.", "of": "model"},
        {"name": "baseline", "kind": "fill", "default": "mean", "help": "Start.", "choices": ["mean", "blur"],
         "volumes": True}]},
    {"name": "occlusion", "title": "Occlusion", "family": "Perturbation", "signed": True, "passes": 384.4, "presets": {
        "quick": {"window": 16, "batch": 8}, "thorough": {"window": [4, 4, 2], "batch": 64}}, "parameters": [
        {"name": "window", "kind": "voxels", "default": 8, "help": "Size.", "unit": "voxel", "minimum": 1},
        {"name": "fill", "kind": "fill", "default": 0.0, "help": "What replaces.", "choices": ["mean", "blur"]},
        {"name": "batch", "kind": "integer", "default": 4, "help": "Windows at once.", "minimum": 1, "maximum": 64,
         "advanced": True},
        {"name": "exact", "kind": "boolean", "default": True, "help": "Whether edges count.", "advanced": True},
        {"name": "scale", "kind": "number", "default": 0.5, "help": "A share.", "minimum": 0.0, "maximum": 1.0,
         "advanced": True},
        {"name": "order", "kind": "choice", "default": "raster", "choices": ["raster", "random"], "help": "Order.",
         "advanced": True}]},
]  # fmt: skip
COMMON = {
    "chapter": "visual", "needs": "scores",
    "taxonomy": {"basis": "post hoc", "scope": "model-agnostic", "reach": "local"},
    "cost": "2 forward passes", "passes": 2.0, "presets": {"quick": {}, "thorough": {}}, "units": "score",
    "summary": "Says what it does.", "citation": "Nobody, Journal, 2020",
    "caution": "It is coarse.",
}  # fmt: skip
CLASSES = ["healthy", "enhancing", "dark"]
MODEL = {"name": "brain-lesion", "title": "Brain lesions", "description": "Healthy, enhancing or dark.",
         "classes": CLASSES, "groups": {"lesion": [1, 2]}, "task": "classification", "channels": 1}  # fmt: skip
TWO = {**MODEL, "name": "two-channels", "title": "Two channels", "channels": 2}
PREDICTION = {"task": "classification", "classes": CLASSES, "logits": [0, 2, 0], "probabilities": [0.1, 0.8, 0.1],
              "predicted": {"index": 1, "name": "enhancing"}, "groups": {"lesion": 0.9}}  # fmt: skip
SEGMENTER = {"task": "segmentation", "groups": {}}
SEGMENTED = {"task": "segmentation", "classes": CLASSES, "millilitres": [900.0, 12.0, 3.0],
             "predicted": {"index": 1, "name": "enhancing"}}  # fmt: skip


class FakeEngine:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.writing = threading.Lock()
        self.cancelled = set()

    def mode(self):
        path = self.folder / "mode"
        return path.read_text().strip() if path.exists() else ""

    def send(self, **message):
        with self.writing:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    def serve(self):
        if self.mode() == "no torch":
            self.send(event="fatal", message="The engine's Python cannot load PyTorch.", hint="Install torch.")
            return 3
        while self.mode() == "slow start":
            time.sleep(0.02)
        self.send(event="ready", protocol=1, version="0", python="3.12.10", torch="9.9", device="cpu", pid=os.getpid())
        for line in sys.stdin:
            request = json.loads(line)
            if request["command"] == "cancel":
                self.cancelled.add(request["job"])
                self.send(id=request["id"], event="result", result={"cancelled": True})
            else:
                threading.Thread(target=self.answer, args=(request,), daemon=True).start()
        return 0

    def answer(self, request):
        with (self.folder / "requests").open("a") as file:
            file.write(json.dumps(request) + "\n")
        try:
            if self.mode() == "slow " + request["command"]:
                self.hold(request, "go on")
            result = getattr(self, request["command"])(request)
        except RuntimeError as error:
            self.send(id=request["id"], event="error", **error.args[0])
            return
        self.send(id=request["id"], event="result", result=result)

    def fail(self, message, hint="", kind="user"):
        raise RuntimeError({"kind": kind, "message": message, "hint": hint})

    def methods(self, request):
        return [{**COMMON, **card} for card in CARDS]

    def models(self, request):
        return [MODEL, TWO]

    def cases(self, request):
        image = self.folder / "case.nrrd"
        paths = {"image": str(image)} if image.exists() else {}
        return [{"name": "ring", "title": "Enhancing ring", "description": "A ring.", "paths": paths}]

    def load_model(self, request):
        name = request["model"]
        for model in (MODEL, TWO):
            if model["name"] == name:
                return {**model, **SEGMENTER} if self.mode() == "segmenter" else model
        if not Path(name).exists():
            self.fail(f"There is no file or folder {name}.", "Check the path.")
        if not request["consent"]:
            self.fail(f"{Path(name).name} is TorchScript: loading it can run code.", "Give your consent: consent=True.")
        return {**MODEL, "name": Path(name).stem}

    def steps(self, request):
        return [{"name": "scale_shift", "title": "Scale and shift", "help": "Multiplies.", "parameters": [
            {"name": "scale", "kind": "number", "default": 1.0, "required": False, "help": "Factor."}]}]

    def inspect(self, request):
        if self.mode() == "death":
            os._exit(7)
        self.hold(request, "past inspect") if self.mode() == "slow inspect" else None
        if not request["consent"]:
            message = f"{Path(request['model']).name} is TorchScript: loading it can run code."
            raise RuntimeError({"kind": "user", "message": message, "hint": "", "consent": True})
        return {
            "name": Path(request["model"]).name, "kind": "torchscript", "task": "classification", "classes": [],
            "outputs": 3, "groups": {}, "channels": 1, "spatial_dims": 3, "slice_axis": "k", "size": None,
            "spacing": None, "preprocessing": [], "sliding": None, "parameters": 7, "layers": None, "layers_at": None,
            "notes": [], "trial": None,
        }  # fmt: skip

    def layers(self, request):
        return [
            {"name": "conv1", "type": "Conv3d", "shape": [8, 10, 8]},
            {"name": "conv2", "type": "Conv3d", "shape": [4, 5, 4]},
        ]

    def status(self, request):
        return {"rss": 2**29, "running": None, "waiting": 0, "total": 16 * 2**30, "available": 9 * 2**30}

    def predict(self, request):
        return SEGMENTED if self.mode() == "segmenter" else PREDICTION

    def estimate(self, request):
        if self.mode() == "slow estimate":
            time.sleep(0.5)
        if self.mode() == "no estimate":
            self.fail("There is no method called so.")
        steps = request["parameters"].get("batch", 4)
        return {"seconds": 5.0 * steps, "passes": 100.0 * steps, "basis": "one pass took 0.05 s"}

    def previews(self, request):
        """Two maps that are on their way, if they are wanted; then wait for a cancel or another order."""
        import numpy as np
        import SimpleITK

        image = SimpleITK.ReadImage(request["volumes"][0])
        path = ""
        for number in (1, 2) if request.get("preview") else ():
            values = np.zeros(image.GetSize()[::-1], np.float32)
            values[: number + 1, 3:9, 3:9] = number
            preview = SimpleITK.GetImageFromArray(values)
            preview.CopyInformation(image)
            old, path = path, request["output"].replace(".nrrd", f".preview-{number}.nrrd")
            SimpleITK.WriteImage(preview, path)
            self.send(
                id=request["id"], event="preview", map=path, prediction=PREDICTION,
                diagnostics={"score": 2.0, "warnings": []}, peak={"index": [0, 0, 0], "lps": [0, 0, 0], "value": 1.0},
                stage={"number": number, "of": 3, "windows": 8, "share": 0.125, "text": "8 of 64 windows"},
                display={"minimum": 0.0, "maximum": 1.0, "p01": 0.0, "p50": 0.0, "p99": 1.0, "signed": True,
                         "units": "score", "title": f"Occlusion, preview {number} of 3"},
            )  # fmt: skip
            self.hold(request, f"past {number}")
            if old:
                Path(old).unlink(missing_ok=True)  # the panel may have taken it
        if path:
            Path(path).unlink(missing_ok=True)

    def hold(self, request, order):
        """Wait until the order comes, or one that is none."""
        while self.mode() not in (order, ""):
            if request["id"] in self.cancelled:
                self.fail("The explanation was cancelled.", "", "cancelled")
            time.sleep(0.02)

    def explain(self, request):
        import numpy as np
        import SimpleITK

        mode = self.mode()
        if mode == "memory":
            self.fail("Memory ran out during the run.", "Choose a smaller volume.", "memory")
        if mode == "slow":
            for step in range(600):
                if self.mode() != "slow":
                    break
                if request["id"] in self.cancelled:
                    self.fail("The explanation was cancelled.", "", "cancelled")
                if self.mode() != mode:
                    break
                self.send(
                    id=request["id"],
                    event="progress",
                    fraction=step / 600,
                    elapsed=step / 10,
                    remaining=60 - step / 10,
                    message="Window",
                )
                time.sleep(0.1)
        if mode == "previews":
            self.previews(request)
        image = SimpleITK.ReadImage(request["volumes"][0])
        values = SimpleITK.GetArrayFromImage(image).astype(np.float32)
        values = values - values.mean() if request["method"] != "grad_cam" else np.maximum(values - values.mean(), 0)
        answer = SimpleITK.GetImageFromArray(values)
        answer.CopyInformation(image)
        SimpleITK.WriteImage(answer, request["output"])
        card = next(card for card in CARDS if card["name"] == request["method"])
        title = card["title"]
        defaults = {one["name"]: one["default"] for one in card["parameters"]}
        return {
            "map": request["output"], "record": request["output"], "prediction": PREDICTION,
            "parameters": {**defaults, **request["parameters"]},
            "diagnostics": {"score": 2.0, "seconds": 0.1, "peak_bytes": 2**30, "completeness_error": 0.01,
                            "warnings": ["It is a test."]},
            "display": {"minimum": float(values.min()), "maximum": float(values.max()), "p01": 0.0, "p50": 0.0,
                        "p99": 1.0, "signed": request["method"] != "grad_cam", "units": "score", "title": title},
            "peak": {"index": [0, 0, 0], "lps": [0, 0, 0], "value": 1.0},
            "native": self.native(values) if request["method"] == "grad_cam" else None,
        }  # fmt: skip

    def native(self, values):
        """Cells of 4 x 4 x 4 voxels, each with the value of one near its middle."""
        import numpy as np

        cells = values[2::4, 2::4, 2::4]
        matrix = np.diag([0.25, 0.25, 0.25, 1.0])
        matrix[:3, 3] = -0.375
        return {"size": list(cells.shape[::-1]), "from_voxels": matrix.tolist(),
                "values": base64.b64encode(cells.astype("<f4").tobytes()).decode("ascii")}

    def measure(self, request):
        maps = request["maps"]
        if self.mode() == "no likeness":
            self.fail("These maps cannot be compared.", "Choose others.")
        pairs = [{"first": one, "second": other, "spearman": 0.5, "pearson": None, "dice": 0.25}
                 for one in range(len(maps)) for other in range(one + 1, len(maps))]
        figures = {"relevance_mass": 0.75, "pointing_game": 1.0, "average_precision": 0.5, "dice": 0.6, "chance": 0.1}
        localisation = [figures for _path in maps] if request["mask"] else None
        return {"pairs": pairs, "voxels": 1234, "localisation": localisation}

    def curves(self, request):
        mode = self.mode()
        if mode == "no curves":
            self.fail("The baseline is what the case shows already.", "Choose another baseline.")
        if mode == "slow":
            for step in range(600):
                if request["id"] in self.cancelled:
                    self.fail("The run was cancelled.", "", "cancelled")
                self.send(id=request["id"], event="progress", fraction=step / 600, elapsed=step / 10, remaining=60.0,
                          message="deletion")
                time.sleep(0.05)
        shares, score = [0.0, 0.25, 0.5, 1.0], mode == "no probability"

        def both(values):
            return {"score": [10 * value for value in values], **({} if score else {"probability": values})}

        curves = [[1.0, 0.5 - 0.1 * place, 0.25, 0.0] for place in range(len(request["maps"]))]
        mean, deviation = [1.0, 0.75, 0.5, 0.0], [0.0, 0.1, 0.1, 0.0]
        areas = {name: values[0] / 20 for name, values in both([0.8]).items()}
        chance = {"shares": [0.0, 1 / 3, 2 / 3, 1.0], "mean": both(mean), "deviation": both(deviation), "areas": areas,
                  "area_deviations": {name: value / 10 for name, value in areas.items()}}  # fmt: skip
        kinds = {
            kind: [{"shares": shares, "values": both(one if kind == "deletion" else one[::-1]),
                    "areas": {name: sum(values) / 4 for name, values in both(one).items()}} for one in curves]
            for kind in ("deletion", "insertion")
        }  # fmt: skip
        return {"target": "lesion", "units": "logit", "names": request["maps"], "settings": {"steps": 3}, **kinds,
                "chance": {"deletion": chance, "insertion": chance}, "diagnostics": {"warnings": []}}  # fmt: skip

    def combine(self, request):
        import SimpleITK

        first, second = (SimpleITK.ReadImage(path) for path in request["maps"])
        SimpleITK.WriteImage(first - second, request["output"])
        return {"map": request["output"], "scales": [2.0, 0.5], "minimum": -1.0, "maximum": 1.0}


if __name__ == "__main__":
    sys.exit(FakeEngine(sys.argv[1]).serve())
