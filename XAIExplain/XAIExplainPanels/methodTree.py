"""The methods as a tree: the survey's chapters and families as headings, the methods under them; searched by words."""

import qt
from slicer.i18n import tr as _

from XAIExplainPanels.methodCard import chapterTitle, familiesOf, passesText, searchText

ROWS = 11  # that are seen at once


class MethodTree:
    """
    The list of methods with a line to search in it.

    :param tree: an empty QTreeWidget of two columns.
    :param search: the QLineEdit above it.
    :param empty: a label that is seen where no method is found.
    :param onChosen: called with the name of a method that the user has chosen.
    """

    def __init__(self, tree, search, empty, onChosen):
        self.tree, self.search, self.empty, self.onChosen = tree, search, empty, onChosen
        self.chosen = ""  # name of the method that is marked
        self._words = {}  # name of a method to what is searched
        self._quiet = False
        height = tree.fontMetrics().height() + 4
        tree.setMinimumHeight(ROWS * height)
        tree.setMaximumHeight(ROWS * height)
        tree.header().setStretchLastSection(False)
        tree.header().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        tree.header().setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        empty.visible = False
        tree.connect("currentItemChanged(QTreeWidgetItem*,QTreeWidgetItem*)", self._onCurrent)
        tree.connect("itemClicked(QTreeWidgetItem*,int)", self._onClicked)
        search.connect("textChanged(QString)", self._onSearch)
        search.connect("returnPressed()", self._onReturn)

    def fill(self, methods):
        """List the methods, name to card; without a word to the listener."""
        self._quiet = True
        self.chosen = ""
        self.tree.clear()
        self._words = {name: searchText(card) for name, card in methods.items()}
        chapters = familiesOf(methods)
        for chapter, families in chapters.items():
            parent = self.tree.invisibleRootItem()
            if len(chapters) > 1:
                parent = self._heading(parent, chapterTitle(chapter), chapterTitle(chapter))
                parent.setExpanded(True)
            for family, cards in families.items():
                heading = self._heading(parent, _("{family} ({count})").format(family=family, count=len(cards)), family)
                for card in cards:
                    self._method(heading, card)
        self._quiet = False
        self._onSearch(self.search.text)

    def _heading(self, parent, title, tip):
        item = qt.QTreeWidgetItem(parent)
        item.setText(0, title)
        item.setToolTip(0, tip)
        item.setFlags(qt.Qt.ItemIsEnabled)  # opened and closed, never chosen
        font = item.font(0)
        font.setBold(True)
        item.setFont(0, font)
        return item

    def _method(self, parent, card):
        item = qt.QTreeWidgetItem(parent)
        item.setText(0, card["title"])
        item.setText(1, passesText(card.get("passes")))
        item.setTextAlignment(1, qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        item.setToolTip(0, card.get("summary", ""))
        item.setToolTip(1, _("Cost: {cost}.").format(cost=card.get("cost", "")))
        item.setData(0, qt.Qt.UserRole, card["name"])

    def methods(self):
        """(name, item) of every method, in the order of the tree."""
        return [(nameOf(item), item) for item in below(self.tree.invisibleRootItem()) if nameOf(item)]

    def select(self, name):
        """Mark a method and open its family, without a word to the listener."""
        if self.chosen != name:
            self._mark(name)

    def _mark(self, name):
        for found, item in self.methods():
            if found == name:
                self.chosen = name
                self._quiet = True
                self.tree.setCurrentItem(item)  # which opens its family too
                self.tree.scrollToItem(item)
                self._quiet = False

    def _onCurrent(self, item):
        name = nameOf(item)
        if name and not self._quiet:
            self.chosen = name
            self.onChosen(name)

    def _onClicked(self, item):
        """A heading opens or closes; the mark, which the click has taken away, comes back where it can be seen."""
        if nameOf(item):
            return
        opened = not item.isExpanded()
        item.setExpanded(opened)
        if self.chosen and (opened or self.chosen not in map(nameOf, below(item))):
            self._mark(self.chosen)
            self.tree.scrollToItem(item)

    def _onSearch(self, text):
        wanted = str(text).lower().split()
        rows = below(self.tree.invisibleRootItem())
        for item in rows:
            name = nameOf(item)
            if name:
                item.setHidden(not all(word in self._words[name] for word in wanted))
        for item in reversed(rows):
            if not nameOf(item):
                inside = below(item)
                item.setHidden(all(one.isHidden() for one in inside))
                item.setExpanded(bool(wanted) or self.chosen in [nameOf(one) for one in inside])
        self.empty.visible = bool(wanted) and all(item.isHidden() for item in rows)
        if self.chosen and not wanted:
            self._mark(self.chosen)

    def _onReturn(self):
        """The first method that is found is chosen, and the arrow keys go on from it."""
        for name, item in self.methods():
            if not item.isHidden():
                self._mark(name)
                self.tree.setFocus()
                self.onChosen(name)
                return


def nameOf(item):
    """Name of the method in the row; "" for a heading and for no row."""
    return str(item.data(0, qt.Qt.UserRole) or "") if item is not None else ""


def below(item):
    """The rows below a row, parents before their children."""
    found = []
    for index in range(item.childCount()):
        child = item.child(index)
        found += [child, *below(child)]
    return found
