"""The 3D views: the map alone in them for a while, and afterwards what the user had there, seen from where it was."""

import slicer

from XAIExplainPanels import made, record

HIDDEN = "XAIExplain.HiddenIn3D"
IN_3D = ("vtkMRMLModelDisplayNode", "vtkMRMLSegmentationDisplayNode", "vtkMRMLMarkupsDisplayNode",
         "vtkMRMLVolumeRenderingDisplayNode")  # fmt: skip


class ThreeDViews:
    """What was in the 3D views before the first map. What is hidden says so itself, so that a saved scene knows too."""

    def __init__(self):
        self._cameras = {}

    def forget(self):
        self._cameras = {}

    def look(self):
        """Turn the views to what they show; where they looked before is remembered, once."""
        if slicer.app.layoutManager() is None:
            return
        for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode"):
            self._cameras.setdefault(camera.GetID(), placeOf(camera))
        slicer.util.resetThreeDViews()

    def restore(self):
        """Show the user's own things again, from where they were seen."""
        self.release()
        for cameraID, (position, focalPoint, viewUp, scale) in self._cameras.items():
            camera = slicer.mrmlScene.GetNodeByID(cameraID)
            if camera is not None:
                camera.SetPosition(position)
                camera.SetFocalPoint(focalPoint)
                camera.SetViewUp(viewUp)
                camera.SetParallelScale(scale)
                camera.ResetClippingRange()
        self.forget()

    def isolate(self):
        """Hide in 3D all that is not of this module."""
        for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode"):
            if record.isMap(node) or made.isMade(node) or node.GetHideFromEditors():
                continue
            for index in range(node.GetNumberOfDisplayNodes()):
                display = node.GetNthDisplayNode(index)
                if display is not None and any(display.IsA(name) for name in IN_3D):
                    hide(display)

    def release(self):
        """Show again what `isolate` hid, also in a scene that was saved meanwhile."""
        for name in IN_3D:
            for display in slicer.util.getNodesByClass(name):
                if display.GetAttribute(HIDDEN):
                    setVisible(display, True)
                    display.RemoveAttribute(HIDDEN)


def hide(display):
    """Hide one display node in 3D, if it is shown there, and write that down in it."""
    if display.GetVisibility() and (isRendering(display) or display.GetVisibility3D()):
        display.SetAttribute(HIDDEN, "true")
        setVisible(display, False)


def setVisible(display, visible):
    if isRendering(display):
        display.SetVisibility(visible)
    else:
        display.SetVisibility3D(visible)


def isRendering(display):
    return display.IsA("vtkMRMLVolumeRenderingDisplayNode")


def placeOf(camera):
    """Position, focal point, up and scale of a camera."""
    return (tuple(camera.GetPosition()), tuple(camera.GetFocalPoint()), tuple(camera.GetViewUp()),
            camera.GetParallelScale())
