"""Pictures of a map as the user's own views draw it: three slices through its peak, and 3D."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from XAIExplainPanels.record import explainedVolume, maps
from XAIExplainPanels.strength import peakPosition
from XAIExplainPanels.usersViews import SLICES, displaysOf, firstRenderer, foremostRenderer, servantsOf, settle

MARGIN = 4
BLACK = (0.0, 0.0, 0.0)


class Overridden:
    """
    The display's settings with some of them changed, for a picture; the user's own stay.

    :param settings: the parameter node.
    :param changes: attribute and value.
    """

    def __init__(self, settings, **changes):
        self._settings = settings
        self._changes = changes

    def __getattr__(self, name):
        return self._changes[name] if name in self._changes else getattr(self._settings, name)


class Picture:
    """
    A picture, ready for a page.

    :param array: rows of red, green and blue from 0 to 255, the uppermost first.
    """

    def __init__(self, array, caption):
        self.height, self.width = array.shape[:2]
        self.png = pngBytes(array)
        self.caption = caption


def photograph(views, display, mapNode, settings, in3D=True):
    """
    Pictures of the map over its volume.

    :param views: the lent `UsersViews`.
    :param display: the `MapDisplay` that draws.
    :param in3D: whether a picture of the 3D view is wanted too, with the anatomy around the map.
    """
    mode = "map" if settings.viewMode == "map" else "overlay"
    display.update(mapNode, Overridden(settings, viewMode=mode, legendVisible=False))
    finish(display)
    others = [other for other in maps() if other.GetID() != mapNode.GetID()]
    for other in others:
        hideLegend(display, other)
    position, _value = peakPosition(mapNode)
    opacity = 1.0 if mode == "map" else settings.opacity
    pictures = [_slice(views.sliceWidget(name), mapNode, mode, opacity, position) for name in SLICES]
    view = views.threeDView() if in3D and position is not None else None
    if view is not None:
        for other in others:
            hideIn3D(display, other)
        display.update(mapNode, Overridden(
            settings, viewMode="overlay", legendVisible=False, renderedIn3D=True, anatomyIn3D=True))
        finish(display)
        pictures.append(_threeD(view))
    return pictures


def finish(display):
    """Let the display make what it makes in steps."""
    while display.step():
        settle()


def hideLegend(display, mapNode):
    """Let the color legend of another map, which would stand for the wrong colors, not be in the picture."""
    for node in display.companions(mapNode):
        if node.IsA("vtkMRMLColorLegendDisplayNode"):
            node.SetVisibility(False)


def hideIn3D(display, mapNode):
    """Let another map, its contours and its volume's surface not be in the picture."""
    for node in servantsOf(display, mapNode):
        for one in displaysOf(node):
            if one.IsA("vtkMRMLVolumeRenderingDisplayNode") or one.IsA("vtkMRMLModelDisplayNode"):
                one.SetVisibility(False)


def _slice(widget, mapNode, mode, opacity, position):
    logic, view, volumeNode = widget.sliceLogic(), widget.sliceView(), explainedVolume(mapNode)
    composite, node = logic.GetSliceCompositeNode(), widget.mrmlSliceNode()
    with slicer.util.NodeModify(composite):
        composite.SetBackgroundVolumeID(volumeNode.GetID() if volumeNode is not None and mode != "map" else None)
        composite.SetForegroundVolumeID(mapNode.GetID())
        composite.SetForegroundOpacity(opacity)
    logic.FitSliceToAll()
    if position is not None:
        node.JumpSliceByOffsetting(*position)
    settle()
    frame = _frame(node, mapNode, view.renderWindow().GetSize())
    # Names of volumes and patients stand in the corners.
    annotations = [view.cornerAnnotation()]
    if hasattr(view, "overlayCornerAnnotation"):
        annotations.append(view.overlayCornerAnnotation())
    visible = [annotation.GetVisibility() for annotation in annotations]
    for annotation in annotations:
        annotation.SetVisibility(False)
    actors = [_cross(node, position), *_letters(node, frame)]
    overlay = foremostRenderer(view)
    for actor in actors:
        overlay.AddViewProp(actor)
    try:
        array = grab(view)
    finally:
        for actor in actors:
            overlay.RemoveViewProp(actor)
        for annotation, before in zip(annotations, visible):
            annotation.SetVisibility(before)
        view.scheduleRender()
    left, right, bottom, top = frame
    height = array.shape[0]
    return Picture(square(array[height - top:height - bottom, left:right]), sliceCaption(node))


def _threeD(view):
    node = view.mrmlViewNode()
    node.SetBackgroundColor(BLACK)
    node.SetBackgroundColor2(BLACK)
    shown = node.GetBoxVisible(), node.GetAxisLabelsVisible()
    # The head fills the picture, not the box around it; the letters of the sides come again.
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)
    try:
        view.resetFocalPoint()
        settle()
        firstRenderer(view).ResetCamera()
        firstRenderer(view).GetActiveCamera().Zoom(1.2)
        node.SetAxisLabelsVisible(shown[1])
        settle()
        return Picture(grab(view), _("In 3D"))
    finally:
        node.SetBoxVisible(shown[0])
        node.SetAxisLabelsVisible(shown[1])


def grab(view):
    """The view's pixels, the uppermost row first."""
    view.forceRender()
    capture = vtk.vtkWindowToImageFilter()
    capture.SetInput(view.renderWindow())
    capture.Update()
    image = capture.GetOutput()
    width, height = image.GetDimensions()[:2]
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


def _frame(sliceNode, volumeNode, size):
    """Left, right, bottom and top pixel of the volume in the view."""
    toXY = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(sliceNode.GetXYToRAS(), toXY)
    bounds = [0.0] * 6
    volumeNode.GetRASBounds(bounds)
    corners = np.array([toXY.MultiplyPoint((x, y, z, 1.0))[:2]
                        for x in bounds[:2] for y in bounds[2:4] for z in bounds[4:]])
    low = np.clip(np.floor(corners.min(axis=0)) - MARGIN, 0, np.array(size) - 2).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + MARGIN, low + 2, size).astype(int)
    return int(low[0]), int(high[0]), int(low[1]), int(high[1])


def _cross(sliceNode, position):
    """Four short lines around the peak that leave it open to be seen."""
    points, lines = vtk.vtkPoints(), vtk.vtkCellArray()
    if position is not None:
        toXY = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(sliceNode.GetXYToRAS(), toXY)
        x, y = toXY.MultiplyPoint((*position, 1.0))[:2]
        size = min(sliceNode.GetDimensions()[:2])
        near, far = 0.06 * size, 0.11 * size
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            first = points.InsertNextPoint(x + right * near, y + up * near, 0)
            second = points.InsertNextPoint(x + right * far, y + up * far, 0)
            lines.InsertNextCell(2, (first, second))
    data = vtk.vtkPolyData()
    data.SetPoints(points)
    data.SetLines(lines)
    mapper, actor = vtk.vtkPolyDataMapper2D(), vtk.vtkActor2D()
    mapper.SetInputData(data)
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(1.0, 1.0, 1.0)
    actor.GetProperty().SetLineWidth(1.5)
    return actor


def _letters(sliceNode, frame):
    """The sides of the patient at the edges of the picture."""
    left, right, bottom, top = frame
    across, up = side(sliceNode, 0), side(sliceNode, 1)
    places = (
        (across[0], left + 4, (bottom + top) / 2, 0, 1), (across[1], right - 4, (bottom + top) / 2, 2, 1),
        (up[0], (left + right) / 2, bottom + 3, 1, 0), (up[1], (left + right) / 2, top - 3, 1, 2),
    )  # fmt: skip
    actors = []
    for letter, x, y, horizontal, vertical in places:
        actor = vtk.vtkTextActor()
        actor.SetInput(letter)
        actor.SetPosition(x, y)
        text = actor.GetTextProperty()
        text.SetFontSize(max(13, (top - bottom) // 18))
        text.SetColor(1.0, 1.0, 1.0)
        text.ShadowOn()
        text.SetJustification(horizontal)
        text.SetVerticalJustification(vertical)
        actors.append(actor)
    return actors


def side(sliceNode, axis):
    """The patient's sides at the low and the high end of an axis of the view: 0 to the right, 1 upwards."""
    direction = [sliceNode.GetSliceToRAS().GetElement(row, axis) for row in range(3)]
    largest = int(np.argmax(np.abs(direction)))
    ends = ("LR", "PA", "IS")[largest]
    return ends if direction[largest] > 0 else ends[::-1]


def sliceCaption(sliceNode):
    """The plane and where it cuts, as "Axial, S 12.5 mm"."""
    toRAS = sliceNode.GetSliceToRAS()
    normal = [toRAS.GetElement(row, 2) for row in range(3)]
    largest = int(np.argmax(np.abs(normal)))
    place = toRAS.GetElement(largest, 3)
    letter = ("LR", "PA", "IS")[largest][1 if place >= 0 else 0]
    name = (_("Sagittal"), _("Coronal"), _("Axial"))[largest]
    if abs(normal[largest]) < 0.999:
        return _("Oblique, near {plane}").format(plane=name.lower())
    return _("{plane}, {side} {place:.1f} mm").format(plane=name, side=letter, place=abs(place))


def square(array):
    """The picture in the middle of a black square."""
    height, width = array.shape[:2]
    size = max(height, width)
    result = np.zeros((size, size, 3), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    result[top:top + height, left:left + width] = array
    return result


def pngBytes(array):
    """A PNG file of rows of red, green and blue."""
    array = np.ascontiguousarray(array[::-1])
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[1], array.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(array.reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image)
    writer.WriteToMemoryOn()
    writer.Write()
    return vtk_to_numpy(writer.GetResult()).tobytes()
