"""A method in words: its place in the list, and its card."""

from html import escape

from slicer.i18n import tr as _


def grouped(methods):
    """Entries (title, name) for a list: the families as headings, their methods under them."""
    families = {}
    for name, card in methods.items():
        if card.get("chapter", "visual") == "visual":
            families.setdefault(card.get("family") or _("Other"), []).append((card["title"], name))
    entries = []
    for family, members in families.items():
        entries.append((family, None))
        entries += [("    " + title, name) for title, name in members]
    return entries


def cardText(card):
    """The card as rich text: what it does, where it stands, what it costs, what to beware of, how it was checked."""
    taxonomy = card.get("taxonomy") or {}
    chips = [taxonomyWords().get(taxonomy.get(key), taxonomy.get(key)) for key in ("basis", "scope", "reach")]
    chips.append(_("cost: {cost}").format(cost=card["cost"]) if card.get("cost") else None)
    parts = [escape(card.get("summary", ""))]
    parts.append("<i>" + " &#183; ".join(escape(str(chip)) for chip in chips if chip) + "</i>")
    if card.get("caution"):
        parts.append("<b>" + _("Beware:") + "</b> " + escape(card["caution"]))
    if card.get("proof"):
        parts.append("<small>" + _("Checked: {proof}.").format(proof=escape(card["proof"])) + "</small>")
    if card.get("citation"):
        parts.append("<small>" + escape(card["citation"]) + "</small>")
    return "".join('<p style="margin-top:0px; margin-bottom:4px">' + part + "</p>" for part in parts if part)


def taxonomyWords():
    """The survey's terms; they stay as the survey has them, so that a reader can look them up."""
    return {
        "model-based": _("model-based"), "post hoc": _("post hoc"), "model-specific": _("model-specific"),
        "model-agnostic": _("model-agnostic"), "local": _("local"), "global": _("global"),
    }  # fmt: skip
