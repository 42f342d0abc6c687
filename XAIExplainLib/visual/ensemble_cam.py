"""What several networks see together: the mean of their class activation maps, and how far they differ."""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute.activation_maps import asked_again, same_class
from XAIExplainLib.compute.placement import enlarge
from XAIExplainLib.effort import Sizes
from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainLib.geometry import resample
from XAIExplainLib.loading import load_model
from XAIExplainLib.method import Attribution, Method, get_method, register
from XAIExplainLib.model import Model
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question


@register
class EnsembleCam(Method):
    """The same class activation map of several networks, each on its own scale, averaged."""

    name = "ensemble_cam"
    title = "CAM of an ensemble"
    family = "Class activation maps"
    model_specific = True
    needs = "graph"
    cost = "that of the base method for each network, and loading the further ones"
    signed = False
    units = "share of the largest, mean of the networks"
    summary = (
        "Where several networks for the same question find what speaks for the target: what they share stays, what one "
        "of them alone lights up fades."
    )
    citation = (
        "After Jiang et al.: An interpretable ensemble deep learning model for diabetic retinopathy disease "
        "classification, EMBC 2019, and Lee et al.: An explainable deep-learning algorithm for the detection of acute "
        "intracranial haemorrhage from small datasets, Nature Biomedical Engineering 3, 2019 (maps of several networks "
        "combined)."
    )
    proof = "equal to the mean of the single networks' maps"
    caution = (
        "Networks that learnt from the same data share their mistakes, and then agree on them. Each network's map "
        "counts alike, however sure the network is."
    )
    parameters = (
        Parameter(
            "models", "list", (),
            "Further networks, by bundled name or path, parted by commas; each of which knows the target.",
            of="model",
        ),
        Parameter(
            "base", "choice", "multi_scale_cam", "The method whose maps are averaged, with its own defaults.",
            choices=("grad_cam", "layer_cam", "multi_scale_cam"),
        ),
    )  # fmt: skip
    presets = {"quick": {"base": "grad_cam"}, "thorough": {"base": "multi_scale_cam"}}

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        base = get_method(parameters["base"])
        return base.passes(sizes, base.check_parameters({})) * (1 + len(parameters["models"]))

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        names = parameters["models"]
        if not names:
            raise XAIError(
                "An ensemble needs at least one further network.",
                "Name it by the parameter models, or use multi_scale_cam for one network.",
            )
        base = get_method(parameters["base"])
        settings = base.check_parameters({})
        total = 1 + len(names)
        asked = asked_again(
            question, question.model, question.prepared, 0.0, 1 / total, lambda graph: base.walk_start(graph, settings)
        )
        maps = [self._map(question, asked, base, settings)]
        about = [_about(asked, question.model.name)]
        for number, name in enumerate(names, start=1):
            question.progress(number / total, f"loading {name}")
            model = self._loaded(question, name)
            try:
                asked = asked_again(
                    question, model, model.prepare(question.prepared.volume), number / total, (number + 1) / total,
                    lambda graph: base.walk_start(graph, settings),
                )  # fmt: skip
                maps.append(self._map(question, asked, base, settings))
            except CancelledError:
                raise
            except XAIError as error:
                raise XAIError(f"The network {name} cannot join the ensemble: {error.message}", error.hint) from error
            about.append(_about(asked, name))
            if not same_class(question, asked):
                question.warn(f"The network {name} answers with another class: there is no common reason to show.")
        together = torch.stack(maps)
        mean = together.mean(0)
        deviation = together.std(0)
        question.diagnostics.update(
            networks=about, base=base.name, engine="graph",
            deviation_between_networks=float(deviation.mean() / mean.mean().clamp_min(1e-30)),
            least_correlation=_least_correlation(together),
        )  # fmt: skip
        prints = [one["fingerprint"] for one in about]
        if len(set(prints)) < len(prints):
            question.warn("Two of the networks are one and the same: it counts twice.")
        return Attribution(mean)

    @staticmethod
    def _loaded(question: Question, name: str) -> Model:
        model = load_model(name)
        model.to(question.model.device)
        return model

    @staticmethod
    def _map(question: Question, asked: Question, base: type[Method], settings: dict[str, Any]) -> torch.Tensor:
        """One network's map as shares of its largest value, on the grid of the explained image (N, 1, *spatial)."""
        found = base().explain(asked, **settings)
        values = found.values
        if found.origin is not None and found.step is not None:
            values = enlarge(values, asked.spatial, found.origin, found.step)
        for sentence in asked.diagnostics["warnings"]:
            question.warn(f"{asked.model.name}: {sentence}")
        if asked.prepared is not question.prepared:
            grid = resample(asked.prepared.grid(values), asked.prepared.geometry, question.prepared.geometry)
            values = question.prepared.rows(grid).to(question.x.dtype)
        largest = values.max()
        return values / largest if float(largest) > 0 else values


def _about(asked: Question, name: str) -> dict[str, Any]:
    return {
        "name": name, "score": float(asked.scores_of_case.double().mean()), "units": asked.score.units,
        "layers": asked.diagnostics.get("layers") or [asked.diagnostics.get("layer")],
        "fingerprint": asked.model.fingerprint,
    }  # fmt: skip


def _least_correlation(maps: torch.Tensor) -> float | None:
    """The smallest correlation over the voxels of any two maps; None where a map does not vary."""
    flat = maps.double().flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    sizes = flat.norm(dim=1)
    if not bool((sizes > 0).all()):
        return None
    flat = flat / sizes[:, None]
    pairs = flat @ flat.T
    return float(pairs[~torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)].min())
