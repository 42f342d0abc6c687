"""A method in words: its place in the list, and its card."""

from html import escape

from slicer.i18n import tr as _

from XAIExplainPanels.figures import figure


def familiesOf(methods):
    """Chapter to family to the cards of the methods in it, in the engine's order."""
    chapters = {}
    for card in methods.values():
        families = chapters.setdefault(card.get("chapter") or "visual", {})
        families.setdefault(card.get("family") or _("Other"), []).append(card)
    return chapters


def chapterTitle(chapter):
    """The survey's chapter in words."""
    titles = {"visual": _("Visual explanation"), "textual": _("Textual explanation"),
              "examples": _("Example-based explanation"), "evaluation": _("Evaluation")}  # fmt: skip
    return titles.get(chapter, chapter)


def searchText(card):
    """What a search looks at: names, family, kind and authors; not the summary, where every word is found."""
    taxonomy = card.get("taxonomy") or {}
    words = [card.get(key, "") for key in ("name", "title", "family", "citation")]
    return " ".join([*words, *(str(taxonomy.get(key, "")) for key in ("basis", "scope", "reach"))]).lower()


def passesText(passes):
    """About how many forward passes a method takes, short."""
    if not passes:
        return ""
    if passes < 1.5:
        return _("1 pass")
    if passes < 10:
        return _("{count:.0f} passes").format(count=passes)
    digits = 1 if passes < 100 else 2
    return _("{count:.0f} passes").format(count=float("{:.{}g}".format(passes, digits)))


def cardText(card):
    """The card as rich text: what it does, where it stands, what it costs, what to beware of, how it was checked."""
    taxonomy = card.get("taxonomy") or {}
    chips = [taxonomyWords().get(taxonomy.get(key), taxonomy.get(key)) for key in ("basis", "scope", "reach")]
    parts = [escape(card.get("summary", ""))]
    parts.append("<i>" + " &#183; ".join(escape(str(chip)) for chip in chips if chip) + "</i>")
    if card.get("cost"):
        parts.append("<b>" + _("Cost:") + "</b> " + escape(_("{cost}.").format(cost=card["cost"])))
    if card.get("caution"):
        parts.append("<b>" + _("Beware:") + "</b> " + escape(card["caution"]))
    if card.get("proof"):
        parts.append("<small>" + _("Checked: {proof}.").format(proof=escape(card["proof"])) + "</small>")
    if card.get("citation"):
        parts.append("<small>" + escape(card["citation"]) + "</small>")
    return "".join('<p style="margin-top:0px; margin-bottom:4px">' + part + "</p>" for part in parts if part)


def presetText(values):
    """What a preset sets, in words; empty where it sets nothing."""
    parts = []
    for name, value in values.items():
        if isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        elif isinstance(value, float):
            value = figure(value)
        parts.append("{} {}".format(name.replace("_", " "), value))
    return ", ".join(parts)


def taxonomyWords():
    """The survey's terms; they stay as the survey has them, so that a reader can look them up."""
    return {
        "model-based": _("model-based"), "post hoc": _("post hoc"), "model-specific": _("model-specific"),
        "model-agnostic": _("model-agnostic"), "local": _("local"), "global": _("global"),
    }  # fmt: skip
