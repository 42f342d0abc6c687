"""The network's answer as bars: one row a class, the likeliest first."""

import qt
from slicer.i18n import tr as _

from XAIExplainPanels.figures import figure, percent
from XAIExplainPanels.panel import clearLayout

MOST = 6
SPACING = 2


class AnswerBars:
    """
    Rows of name, bar and number inside `widget`.

    :param widget: an empty widget; gets a grid layout.
    """

    def __init__(self, widget):
        self.widget = widget
        self.layout = qt.QGridLayout(widget)
        self.layout.setContentsMargins(0, 0, 0, 0)
        self.layout.setHorizontalSpacing(8)
        self.layout.setVerticalSpacing(SPACING)
        self.layout.setColumnStretch(1, 1)
        self._shown = None

    def show(self, prediction):
        """Show a prediction of the engine; None clears."""
        rows = answerRows(prediction)
        if rows == self._shown:
            return
        self._shown = rows
        height = self.widget.fontMetrics().height() + 2
        for index in range(MOST):
            self.layout.setRowMinimumHeight(index, 0)
        clearLayout(self.layout)
        for index, (name, share, text, predicted) in enumerate(rows):
            self.layout.setRowMinimumHeight(index, height)
            label = qt.QLabel("<b>{}</b>".format(name) if predicted else name)
            label.objectName = "answerName%d" % index
            number = qt.QLabel("<b>{}</b>".format(text) if predicted else text)
            number.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            number.objectName = "answerNumber%d" % index
            tip = _("{name}: {text}").format(name=name, text=text)
            for widget in (label, number):
                widget.toolTip = tip
            self.layout.addWidget(label, index, 0)
            self.layout.addWidget(number, index, 2)
            if share is not None:
                bar = qt.QProgressBar()
                bar.objectName = "answerBar%d" % index
                bar.setRange(0, 1000)
                bar.setValue(int(round(1000 * share)))
                bar.setTextVisible(False)
                bar.setFixedHeight(10)
                bar.toolTip = tip
                self.layout.addWidget(bar, index, 1)
        self.widget.setMinimumHeight(len(rows) * (height + SPACING))
        self.widget.visible = bool(rows)


def answerRows(prediction):
    """Rows (name, share or None, text, whether it is the answer), the likeliest first."""
    if not prediction:
        return []
    names = [str(name) for name in prediction.get("classes") or []]
    predicted = (prediction.get("predicted") or {}).get("index")
    if prediction.get("probabilities"):
        shares = [min(max(float(share), 0.0), 1.0) for share in prediction["probabilities"]]
        rows = [(names[index], share, percent(share), index == predicted) for index, share in enumerate(shares)]
        rows.sort(key=lambda row: -row[1])
    elif prediction.get("millilitres"):
        sizes = [float(size) for size in prediction["millilitres"]]
        rows = [(names[index], None, _("{size} ml").format(size=figure(size)), index == predicted)
                for index, size in enumerate(sizes)]
    else:
        numbers = prediction.get("logits") or []
        rows = [(names[index], None, figure(number), False) for index, number in enumerate(numbers)]
    return rows[:MOST]
