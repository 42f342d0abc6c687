"""The layouts of a comparison: known from Slicer's start on, because a scene that was saved with one asks for it."""

import slicer

MOST = 6
VIEW_PREFIX = "XAIExplain"  # slice views of that name, and a number, are a comparison's
VIEW_GROUP = 27100  # links these views with one another, and with no other
FIRST_LAYOUT = 27100  # plus the number of results
PLOTS = 20  # added for each plot below the results; see plotLayouts.py
COLUMNS = {2: 2, 3: 3, 4: 2, 5: 3, 6: 3}


def registerLayouts():
    """Tell Slicer's layout node the layouts of two to six results; once, whoever asks."""
    node = layoutNode()
    if node is None:
        return
    for count in COLUMNS:
        if not node.IsLayoutDescription(FIRST_LAYOUT + count):
            node.AddLayoutDescription(FIRST_LAYOUT + count, description(count))


def description(count):
    """The XML of a grid of so many slice views."""
    items = []
    for index in range(count):
        row, column = divmod(index, COLUMNS[count])
        items.append(
            '<item row="{row}" column="{column}"><view class="vtkMRMLSliceNode" singletontag="{prefix}{number}">'
            '<property name="orientation" action="default">Axial</property>'
            '<property name="viewlabel" action="default">{number}</property>'
            '<property name="viewcolor" action="default">#8FA6BF</property>'
            '<property name="viewgroup" action="default">{group}</property></view></item>'.format(
                row=row, column=column, prefix=VIEW_PREFIX, number=index + 1, group=VIEW_GROUP))
    return '<layout type="grid">{}</layout>'.format("".join(items))


def layoutNode():
    """Slicer's layout node; None without a main window."""
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None


def sliceNode(number):
    return slicer.mrmlScene.GetSingletonNode(VIEW_PREFIX + str(number), "vtkMRMLSliceNode")


def compositeNode(number):
    return slicer.mrmlScene.GetSingletonNode(VIEW_PREFIX + str(number), "vtkMRMLSliceCompositeNode")


def shownCount():
    """How many results the layout on the screen is for; 0 where it is another one."""
    node = layoutNode()
    number = node.GetViewArrangement() - FIRST_LAYOUT if node is not None else -1
    count = number % PLOTS if 0 <= number < 3 * PLOTS else 0  # with up to two plots below
    return count if count in COLUMNS else 0
