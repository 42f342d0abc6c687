"""The list of cases: a line each, with its state as a sign and in words."""

import qt
from slicer.i18n import tr as _

from XAIExplainPanels.caseItems import DONE, FAILED, RUNNING, WAITING
from XAIExplainPanels.figures import duration, percent
from XAIExplainPanels.status import BAD, GOOD, SIGNS
from XAIExplainPanels.status import WAITING as NOT_YET

LEAST_ROWS, MOST_ROWS = 4, 11  # that are seen at once, of one line each
RUNNING_COLOR = "#2f6fb0"


class CaseTree:
    """
    Shows cases in a tree without branches.

    :param tree: an empty QTreeWidget of two columns.
    :param onChosen: called when other lines are marked.
    :param onShow: called with the case that is double-clicked.
    """

    def __init__(self, tree, onChosen, onShow):
        self.tree, self.onChosen, self.onShow = tree, onChosen, onShow
        self._cases, self._items, self._shown = {}, {}, {}
        height = tree.fontMetrics().height()
        self._icons = {state: signIcon(state, height) for state in (WAITING, RUNNING, DONE, FAILED)}
        tree.header().setStretchLastSection(True)
        tree.header().setSectionResizeMode(0, qt.QHeaderView.Interactive)
        tree.setColumnWidth(0, 15 * tree.fontMetrics().averageCharWidth() + 60)
        tree.header().connect("sectionResized(int,int,int)", self._onResized)
        tree.connect("itemSelectionChanged()", onChosen)
        tree.connect("itemDoubleClicked(QTreeWidgetItem*,int)", self._onDoubleClicked)

    def show(self, cases, question):
        """
        Bring the lines up to date; those that are marked stay so.

        :param question: the one that the panels show, or that is being asked.
        """
        wasBlocked = self.tree.blockSignals(True)
        numbers = [case.number for case in cases]
        for number in [number for number in self._items if number not in numbers]:
            self.tree.takeTopLevelItem(self.tree.indexOfTopLevelItem(self._items.pop(number)))
            self._shown.pop(number, None)
        self._cases = {case.number: case for case in cases}
        for case in cases:
            if case.number not in self._items:
                item = self._items[case.number] = qt.QTreeWidgetItem(self.tree)
                item.setData(0, qt.Qt.UserRole, case.number)
            wanted = (case.name, case.state, stateText(case, question), tipText(case))
            if self._shown.get(case.number) != wanted:
                self._shown[case.number] = wanted
                item = self._items[case.number]
                item.setText(0, case.name)
                item.setIcon(0, self._icons[case.state])
                item.setText(1, wanted[2])
                item.setToolTip(0, "\n".join(getattr(case, "paths", [])) or case.name)
                item.setToolTip(1, wanted[3])
                self._fit(item)
        row = self.tree.fontMetrics().height() + 4
        height = sum(item.sizeHint(1).height() for item in self._items.values())
        height = min(max(height, LEAST_ROWS * row), MOST_ROWS * row) + self.tree.header().height + 6
        if self.tree.height != height:
            self.tree.setFixedHeight(height)
        self.tree.blockSignals(wasBlocked)

    def _fit(self, item):
        """Make the line as high as its sentences: a tree wraps words, but does not make room for them."""
        metrics, height = self.tree.fontMetrics(), 0
        for column, taken in ((0, metrics.height() + 12), (1, 8)):
            width = max(40, self.tree.columnWidth(column) - taken)
            box = metrics.boundingRect(0, 0, width, 10000, qt.Qt.TextWordWrap, item.text(column))
            height = max(height, box.height())
        if item.sizeHint(1).height() != height + 4:
            item.setSizeHint(1, qt.QSize(0, height + 4))

    def _onResized(self, column, before, after):
        for item in self._items.values():
            self._fit(item)

    def chosen(self):
        """The cases whose lines are marked, in the order of the list."""
        marked = [int(item.data(0, qt.Qt.UserRole)) for item in self.tree.selectedItems()]
        return [case for number, case in self._cases.items() if number in marked]

    def reveal(self, case):
        """Scroll to the line of the case."""
        if case is not None and case.number in self._items:
            self.tree.scrollToItem(self._items[case.number])

    def _onDoubleClicked(self, item, column=0):
        case = self._cases.get(int(item.data(0, qt.Qt.UserRole)))
        if case is not None:
            self.onShow(case)


def stateText(case, question):
    """How far a case is, in words."""
    if case.state == RUNNING:
        share = _("{percent:.0f} %").format(percent=100 * case.fraction)
        if case.partCount > 1:
            return _("running: frame {part} of {count}, {share}").format(
                part=min(len(case.outcomes) + 1, case.partCount), count=case.partCount, share=share)
        return _("running: {share}").format(share=share)
    if case.state == FAILED:
        return _("failed: {problem}").format(problem=case.problem)
    if case.state == DONE:
        text = _("done: {answer}, {time}").format(answer=answersText(case), time=duration(case.seconds))
        if question is not None and case.asked != question.key:
            text = _("{done} ({method})").format(done=text, method=case.askedTitle)
        return text + (_(". {problem}").format(problem=case.problem) if case.problem else "")
    if case.outcomes:
        return _("waiting: {part} of {count} frames are done").format(part=len(case.outcomes), count=case.partCount)
    return _("waiting")


def answersText(case):
    """What the network answered; of a sequence, how often."""
    if case.kind != "sequence":
        outcome = case.outcomes[-1]
        share = " " + percent(outcome.probability) if outcome.probability is not None else ""
        return (outcome.answer or _("a map")) + share
    answers = [outcome.answer for outcome in case.outcomes if not outcome.problem]
    counts = sorted({answer: answers.count(answer) for answer in answers}.items(), key=lambda pair: -pair[1])
    words = [_("{answer} in {count}").format(answer=answer or _("a map"), count=count) for answer, count in counts]
    return _("{count} frames, {answers}").format(count=len(case.outcomes), answers=", ".join(words))


def tipText(case):
    """What does not fit into the line."""
    lines = [case.problem] if case.problem else []
    lines += ["{}: {}".format(outcome.name, outcome.problem) for outcome in case.outcomes
              if outcome.problem and outcome.problem not in case.problem]
    if case.state == DONE and not lines:
        lines = [_("Double-click to see it.")]
    return "\n".join(lines[:12])


def signIcon(state, height):
    """A disc for what is done, a square for what has failed, a triangle for what runs, a ring for what waits."""
    colors = {DONE: SIGNS[GOOD][1], FAILED: SIGNS[BAD][1], WAITING: SIGNS[NOT_YET][1]}
    color = qt.QColor(colors.get(state, RUNNING_COLOR))
    pixmap = qt.QPixmap(height, height)
    pixmap.fill(qt.QColor(0, 0, 0, 0))
    edge, size = 0.26 * height, 0.48 * height
    path = qt.QPainterPath()
    if state == FAILED:
        path.addRect(edge, edge, size, size)
    elif state == RUNNING:
        path.moveTo(edge, edge)
        path.lineTo(edge + size, edge + size / 2)
        path.lineTo(edge, edge + size)
        path.closeSubpath()
    else:
        path.addEllipse(edge, edge, size, size)
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    if state == WAITING:
        painter.strokePath(path, qt.QPen(qt.QBrush(color), 1.6))
    else:
        painter.fillPath(path, qt.QBrush(color))
    painter.end()
    return qt.QIcon(pixmap)
