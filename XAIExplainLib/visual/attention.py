"""Attention that the network itself computes: rollout through a transformer, one layer's attention, gates."""

from __future__ import annotations

from typing import Any

import torch

from XAIExplainLib.compute.attention_maps import Attention, Gate, Rollout, attentions, gate_maps, watching
from XAIExplainLib.compute.graph import Graph
from XAIExplainLib.compute.placement import cells
from XAIExplainLib.effort import FIRST_WALK, Sizes
from XAIExplainLib.errors import XAIError
from XAIExplainLib.method import Attribution, Method, register
from XAIExplainLib.parameter import Parameter
from XAIExplainLib.question import Question

ROWS = 1e-3  # how far the rows of an attention may be from adding up to 1
SAME = "This map is the same for every target; of these maps only gradient_rollout depends on it."


@register
class AttentionMaps(Method):
    """What the network's own attention weighs, put where its tokens lie."""

    name = "attention"
    title = "Attention"
    family = "Attention"
    model_based = True
    model_specific = True
    needs = "graph"
    cost = "two forward passes and one backward pass"
    signed = False
    units = "attention"
    summary = (
        "Where the network's own attention looks: the attention of all layers of a transformer followed back to the "
        "patches of the image, one layer's attention, or the gates of an attention U-Net. One value a patch or cell."
    )
    citation = (
        "Abnar, Zuidema: Quantifying attention flow in transformers. ACL 2020, arXiv:2005.00928 (section 3, rollout); "
        "Chefer, Gur, Wolf: Generic attention-model explainability. ICCV 2021, arXiv:2103.15679 (equations 5 and 6, "
        "gradient_rollout); Schlemper et al.: Attention gated networks. Medical Image Analysis 53, 2019, "
        "arXiv:1808.08114 (gates)."
    )
    proof = "equal to explicit matrix products and to MONAI's own attention; rows add up to 1; gates equal hooked ones"
    caution = (
        "Shows where the network looks, not why it answers so: rollout, a single layer and gates are the same for "
        "every target (only gradient_rollout depends on it), and what a token holds is mixed from all tokens."
    )
    parameters = (
        Parameter(
            "of", "choice", "auto",
            "auto: gradient_rollout where there is a transformer, else gates; rollout: all layers, for no target; "
            "gradient_rollout: all layers, for the target; layer: one layer's attention; gates: a gate's map.",
            choices=("auto", "rollout", "gradient_rollout", "layer", "gates"),
        ),
        Parameter(
            "layer", "layer", None,
            "Dotted name of one attention or gate; left out, the last attention that the answer reads, or the last "
            "gate.",
        ),
        Parameter(
            "heads", "choice", "mean",
            "How the heads of an attention become one (gradient_rollout always takes the mean).",
            choices=("mean", "max", "min"), advanced=True,
        ),
    )  # fmt: skip

    @classmethod
    def passes(cls, sizes: Sizes, parameters: dict[str, Any]) -> float:
        return 1 + FIRST_WALK

    def explain(self, question: Question, **parameters: Any) -> Attribution:
        graph = question.graph()
        question.progress(0.0, "looking for attention")
        known, strange = attentions(graph)
        gates = gate_maps(graph)
        of = _kind(parameters["of"], parameters["layer"], known, strange, gates)
        question.diagnostics.update(of=of, engine="graph")
        if of == "gates":
            values = _gate(question, graph, _named(gates, parameters["layer"]) or gates[-1], gates)
        else:
            values = _attention(question, graph, of, parameters, known, strange)
        return Attribution(values, *cells(tuple(values.shape[2:]), question.spatial))


def _kind(of: str, layer: str | None, known: list[Attention], strange: list[str], gates: list[Gate]) -> str:
    """What is shown, where it is left to the network; refused where the network has it not."""
    if not known and not gates:
        if strange:
            raise XAIError(
                f"The network has attention ({strange[0]}), but its tokens have no place on the image.",
                "Use gradient, integrated_gradients or occlusion.",
            )
        raise XAIError(
            "The network has no attention: neither a softmax over tokens nor a gate with a map.",
            "Use grad_cam, gradient, integrated_gradients or occlusion.",
        )
    if of == "auto":
        if layer is None:
            return "gradient_rollout" if known else "gates"
        of = "layer" if _named(known, layer) else "gates"
    if layer is not None:
        if of in ("rollout", "gradient_rollout"):
            raise XAIError("The rollout goes through all layers.", "Leave out the layer, or give of=layer.")
        if _named(known if of == "layer" else gates, layer) is None:
            names = [one.layer for one in (known if of == "layer" else gates)] or ["none"]
            raise XAIError(
                f"The layer {layer} holds no {'attention' if of == 'layer' else 'gate'} on the way to the answer.",
                f"There are: {', '.join(names)}.",
            )
    if of == "gates" and not gates:
        raise XAIError("The network has no gate with a map.", "Use of=rollout, or leave it out.")
    if of != "gates" and not known:
        raise XAIError("The network has no attention between tokens of the image.", "Use of=gates, or leave it out.")
    return of


def _named(found: list[Any], layer: str | None) -> Any:
    """The last one inside the layer of that name, or None."""
    return next((one for one in reversed(found) if layer in (one.layer, *one.names)), None)


def _gate(question: Question, graph: Graph, gate: Gate, gates: list[Gate]) -> torch.Tensor:
    """The gate's values, the mean of its channels, (N, 1, *grid)."""
    maps = []
    for sample in range(question.samples):
        question.progress(sample / question.samples, "forward pass")
        maps.append(question.walk_to(gate.node, *_row(question, sample), graph)[0].mean(1, keepdim=True))
    values = torch.cat(maps)
    question.diagnostics.update(
        layer=gate.layer, layer_grid=list(gate.grid), gates=[one.layer for one in gates],
        gate_range=[float(values.min()), float(values.max())],
    )  # fmt: skip
    question.warn(SAME)
    if float(values.max() - values.min()) < 1e-6:
        question.warn("The gate is open alike everywhere: it weighs nothing.")
    return values


def _attention(
    question: Question, graph: Graph, of: str, parameters: dict[str, Any], known: list[Attention], strange: list[str]
) -> torch.Tensor:
    """The shares of the tokens, (N, 1, *grid)."""
    chosen = known
    if of == "layer" and parameters["layer"] is not None:
        chosen = [_named(known, parameters["layer"])]
    maps: list[torch.Tensor] = []
    rollout = Rollout(of, parameters["heads"])
    worst = 0.0
    for sample in range(question.samples):
        question.progress(sample / question.samples, "forward and backward pass")
        rollout = Rollout(of, parameters["heads"])
        question.walk_to(graph.input, *_row(question, sample), graph, watching(chosen, rollout))
        if rollout.share is None or rollout.bottom is None:
            raise XAIError(
                "The score depends on no attention of this network: no gradient reaches one.",
                "Choose another target, or use gradient or occlusion.",
            )
        worst = max(worst, rollout.row_error)
        maps.append(rollout.map())
    values = torch.cat(maps).to(question.x.dtype)
    question.diagnostics.update(
        layers=rollout.layers[::-1], layer_grid=list(values.shape[2:]), tokens_read=rollout.read,
        row_error=worst,
    )  # fmt: skip
    if of != "gradient_rollout":
        question.diagnostics["share_elsewhere"] = rollout.kept_by_class_token
    if worst > ROWS:
        question.warn(f"The rows of an attention add up to 1 with an error of {worst:.1e}: it is no plain softmax.")
    if of != "layer":
        if rollout.stopped:
            question.warn(
                f"The attention is followed back to the layer {rollout.layers[-1]}; the tokens of {rollout.stopped} "
                "below it do not divide its tokens."
            )
        if strange:
            question.warn(f"The attention of {', '.join(strange)} is left out: its tokens have no place on the image.")
    if of != "gradient_rollout":
        question.warn(SAME)
    elif not bool(values.any()):
        question.warn("No attention speaks for the target: the map is zero.")
    return values


def _row(question: Question, sample: int) -> tuple[torch.Tensor, torch.Tensor]:
    return question.x[sample : sample + 1], torch.tensor([sample], device=question.x.device)
