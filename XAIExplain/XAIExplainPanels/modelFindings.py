"""What the engine found in a model, and what a network saw and said in a trial, in words."""

from html import escape

from slicer.i18n import tr as _

from XAIExplainPanels.figures import figure, percent

TASKS = ("classification", "multilabel", "regression", "segmentation")


def taskTitle(task):
    return {
        "classification": _("Classification: one class of several"),
        "multilabel": _("Several findings: each class for itself"),
        "regression": _("A measure (regression)"),
        "segmentation": _("Segmentation: a class for each voxel"),
    }.get(task, str(task))


def kindTitle(kind):
    return {
        "torchscript": _("TorchScript program; only methods that need scores or gradients"),
        "exported": _("Exported program (torch.export); all methods"),
        "module": _("Network with weights; all methods"),
    }.get(kind, str(kind))


def rows(found):
    """Rows (title, text) of what was found."""
    count = found.get("channels")
    wanted = [_("{count} channel").format(count=count) if count == 1 else _("{count} channels").format(count=count)
              if count else _("channels not known")]
    if found.get("spatial_dims") == 2:
        wanted.append(_("slices (2D)"))
    size, spacing = found.get("size"), found.get("spacing")
    wanted.append(_("{size} voxels").format(size=" x ".join(map(str, size))) if size else _("any size"))
    wanted.append(_("{spacing} mm").format(spacing=" x ".join(figure(mm) for mm in spacing)) if spacing
                  else _("no spacing said"))
    outputs = found.get("outputs")
    answer = _("not known before it is tried") if not outputs else str(outputs)
    if found.get("classes"):
        answer += " (" + ", ".join(str(name) for name in found["classes"]) + ")"
    lines = [
        (_("Kind"), kindTitle(found.get("kind"))),
        (_("Takes"), ", ".join(wanted)),
        (_("Outputs"), answer),
    ]
    if found.get("task"):
        lines.append((_("Task"), taskTitle(found["task"])))
    if found.get("sliding"):
        lines.append((_("Window"), _("asked by tiles of {size} voxels").format(
            size=grid(listed(found["sliding"].get("roi"))))))
    if found.get("parameters"):
        lines.append((_("Weights"), "{:,}".format(found["parameters"])))
    if found.get("layers"):
        lines.append((_("Layers"), _("{count} with a map, for an input of {size}:").format(
            count=len(found["layers"]), size=grid(found.get("layers_at") or []))))
    lines += [(_("Note"), str(note)) for note in found.get("notes") or []]
    return lines


def listed(value):
    return value if isinstance(value, (list, tuple)) else [value]


def html(found):
    """The rows as a table."""
    cells = "".join(
        '<tr><td style="padding-right:8px">{}</td><td><b>{}</b></td></tr>'.format(escape(title), escape(text))
        for title, text in rows(found))
    return "<table>{}</table>".format(cells)


def grid(shape):
    """A shape of an array as the size of a volume: i x j x k."""
    return " x ".join(str(size) for size in reversed(list(shape)))


def layerText(layer):
    channels, *shape = layer["shape"]
    text = _("{name}: {count} maps of {size}").format(name=layer["name"], count=channels, size=grid(shape))
    return _("{layer} (Grad-CAM's own choice)").format(layer=text) if layer.get("default") else text


HEIGHT = 96  # of a picture, in pixels


def pictures(trial):
    """Slices of what the network got to see, side by side, as rich text."""
    found = trial["input"].get("pictures") or {}
    tags = ['<img height="{}" src="data:image/png;base64,{}"/>'.format(HEIGHT, found[name])
            for name in ("axial", "coronal", "sagittal") if found.get(name)]
    return "&nbsp;".join(tags)


def trialText(trial):
    """What the network answered, and what it got to see."""
    prediction, seen = trial["prediction"], trial["input"]
    predicted = prediction.get("predicted") or {}
    lines = []
    if prediction.get("task") == "regression":
        lines.append(_("The network gives {values}.").format(values=", ".join(
            _("{name} {value}").format(name=name, value=figure(value))
            for name, value in zip(prediction["classes"], prediction.get("logits") or []))))
    elif prediction.get("probabilities"):
        lines.append(_("The network answers {name} ({share}).").format(
            name=predicted.get("name", ""), share=percent(prediction["probabilities"][predicted["index"]])))
    else:
        lines.append(_("The largest class is {name}.").format(name=predicted.get("name", "")))
    if seen.get("slices"):
        lines.append(_("It saw {count} slices").format(count=seen["slices"]))
    else:
        lines.append(_("It saw {size} voxels").format(size=" x ".join(map(str, seen["size"]))))
    lines[-1] += _(" of {spacing} mm, axes {axes}, with values from {low} to {high}.").format(
        spacing=" x ".join(figure(mm) for mm in seen["spacing"]), axes=seen["axes"], low=figure(seen["minimum"]),
        high=figure(seen["maximum"]))
    return " ".join(lines)
