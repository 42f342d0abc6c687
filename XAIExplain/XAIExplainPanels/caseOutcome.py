"""What an explanation says about a case, in the figures that a table of many cases has."""

from XAIExplainPanels.caseItems import Outcome
from XAIExplainPanels.figures import figure


def outcomeOf(name, answer, seconds):
    """The figures of the engine's answer."""
    prediction, diagnostics = answer.get("prediction") or {}, answer.get("diagnostics") or {}
    peak = answer.get("peak") or {}
    lps = peak.get("lps")
    position = (-lps[0], -lps[1], lps[2]) if lps else None
    return Outcome(name, answerText(prediction), probability(prediction), number(diagnostics.get("score")),
                   number(peak.get("value")), position, seconds, "")


def failureOf(name, seconds, problem):
    """There is no answer."""
    return Outcome(name, "", None, None, None, None, seconds, problem)


def answerText(prediction):
    """What the network answers, in a word."""
    predicted = prediction.get("predicted") or {}
    name = str(predicted.get("name") or "")
    values = prediction.get("logits") or []
    if prediction.get("task") == "regression" and values:
        return "{} {}".format(name, figure(values[predicted.get("index") or 0])).strip()
    return name


def probability(prediction):
    """How probable the network says its answer is; None where it does not say."""
    shares = prediction.get("probabilities") or []
    index = (prediction.get("predicted") or {}).get("index")
    return number(shares[index]) if isinstance(index, int) and 0 <= index < len(shares) else None


def number(value):
    """A float, or None for what is none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
