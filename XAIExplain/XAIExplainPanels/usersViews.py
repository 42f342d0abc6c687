"""The views as the user has them: remembered, lent for pictures, and given back as they were."""

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from XAIExplainLib.errors import XAIError
from XAIExplainPanels import record
from XAIExplainPanels.layers import existing
from XAIExplainPanels.made import removeQuietly

SLICES = ("Red", "Yellow", "Green")
LAYOUT = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


class UsersViews:
    """
    Lends the three slice views and a 3D view. On leaving, also by an exception, everything is as it was: layout,
    slices, zoom, layers, cameras, backgrounds, what maps show in 3D and which legends are seen. Nodes that were made
    for the pictures are gone.

    :param logic: the module's logic, whose display and comparison draw in the views.
    """

    def __init__(self, logic):
        self.logic = logic
        self._undo = []

    def __enter__(self):
        self._undo = []
        if slicer.app.layoutManager() is None:
            raise XAIError(_("There is no window to take pictures in."), _("Start Slicer with its main window."))
        try:
            self._keepNodes()
            before = self.threeDView()
            self._keepThreeD(before)
            for name in SLICES:
                self._keepSlice(name)
            self._borrowLayout()  # last, so that it is the first to come back: views change their scale with their size
            if before is None:
                self._keepThreeD(self.threeDView())
        except Exception:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error):
        for undo in reversed(self._undo):
            undo()
        self._undo = []
        settle()

    def sliceWidget(self, name):
        return slicer.app.layoutManager().sliceWidget(name)

    def threeDView(self):
        """The first 3D view, or None."""
        manager = slicer.app.layoutManager()
        return manager.threeDWidget(0).threeDView() if manager.threeDViewCount else None

    def _borrowLayout(self):
        node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        maximized = []
        if hasattr(node, "RemoveAllMaximizedViewNodes"):  # since Slicer 5.4
            maximized = [node.GetMaximizedViewNode(index) for index in range(node.GetNumberOfMaximizedViewNodes())]
        before, comparison = node.GetViewArrangement(), self.logic.comparison
        if not maximized and before == LAYOUT:
            return
        changing, comparison.changing = comparison.changing, True  # its views come back, and are not to be given up

        def undo():
            node.SetViewArrangement(before)
            for viewNode in maximized:
                node.AddMaximizedViewNode(viewNode)
            settle()
            comparison.changing = changing

        self._undo.append(undo)
        if maximized:
            node.RemoveAllMaximizedViewNodes()
        node.SetViewArrangement(LAYOUT)
        settle()

    def _keepSlice(self, name):
        widget = self.sliceWidget(name)
        if widget is None:  # no layout has had it so far
            return
        node, composite = widget.mrmlSliceNode(), widget.sliceLogic().GetSliceCompositeNode()
        toRAS = vtk.vtkMatrix4x4()
        toRAS.DeepCopy(node.GetSliceToRAS())
        field, origin = list(node.GetFieldOfView()), list(node.GetXYZOrigin())
        layers = [composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()]
        opacity = composite.GetForegroundOpacity()

        def undo():
            with slicer.util.NodeModify(composite):
                composite.SetBackgroundVolumeID(existing(layers[0]))
                composite.SetForegroundVolumeID(existing(layers[1]))
                composite.SetForegroundOpacity(opacity)
            with slicer.util.NodeModify(node):
                node.GetSliceToRAS().DeepCopy(toRAS)
                node.SetFieldOfView(*field)
                node.SetXYZOrigin(*origin)
                node.UpdateMatrices()

        self._undo.append(undo)

    def _keepThreeD(self, view):
        if view is None:
            return
        node, camera = view.mrmlViewNode(), firstRenderer(view).GetActiveCamera()
        state = [camera.GetPosition(), camera.GetFocalPoint(), camera.GetViewUp()]
        angle, scale = camera.GetViewAngle(), camera.GetParallelScale()
        colors = [node.GetBackgroundColor(), node.GetBackgroundColor2()]

        def undo():
            camera.SetPosition(state[0])
            camera.SetFocalPoint(state[1])
            camera.SetViewUp(state[2])
            camera.SetViewAngle(angle)
            camera.SetParallelScale(scale)
            firstRenderer(view).ResetCameraClippingRange()
            node.SetBackgroundColor(colors[0])
            node.SetBackgroundColor2(colors[1])

        self._undo.append(undo)

    def _keepNodes(self):
        """Keep what the display's nodes show, and which there are."""
        display = self.logic.display
        known, states = set(), []
        for node in servants(display):
            known.add(node.GetID())
            for one in displaysOf(node):
                states.append((one, one.GetVisibility(), one.GetVisibility2D(), one.GetVisibility3D()))

        def undo():
            for node in servants(display):
                if node.GetID() not in known:
                    removeQuietly(node)
            for node, *visibilities in states:
                if slicer.mrmlScene.IsNodePresent(node):
                    with slicer.util.NodeModify(node):
                        node.SetVisibility(visibilities[0])
                        node.SetVisibility2D(visibilities[1])
                        node.SetVisibility3D(visibilities[2])

        self._undo.append(undo)


def servants(display):
    """All nodes that serve maps, and the surfaces of their volumes."""
    found = {node.GetID(): node for mapNode in record.maps() for node in servantsOf(display, mapNode)}
    return list(found.values())


def servantsOf(display, mapNode):
    """The nodes that serve a map, and the surface of its volume, which other maps may have too."""
    owners = [mapNode, record.explainedVolume(mapNode)]
    return [node for owner in owners if owner is not None for node in display.companions(owner)]


def displaysOf(node):
    """The node, if it is a display node, or its display nodes."""
    if node.IsA("vtkMRMLDisplayNode"):
        return [node]
    if not node.IsA("vtkMRMLDisplayableNode"):
        return []
    found = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    return [one for one in found if one is not None]


def firstRenderer(view):
    return view.renderWindow().GetRenderers().GetFirstRenderer()


def foremostRenderer(view):
    """The renderer that draws over all others of the view."""
    renderers = view.renderWindow().GetRenderers()
    return max((renderers.GetItemAsObject(index) for index in range(renderers.GetNumberOfItems())),
               key=lambda renderer: renderer.GetLayer())


def settle():
    """Let Qt lay out and draw what has changed; the user's clicks wait."""
    slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)
