"""The main way: volume, Apply, map over the volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.panel.driver import colored

OBLIQUE = np.array([[-1.8, 0.6, 0.2, 40.0], [-0.62, -1.86, 0.1, 12.0], [0.14, 0.02, 2.9, -30.0], [0.0, 0.0, 0.0, 1.0]])


def oblique(flipped: bool = False) -> np.ndarray:
    """An oblique IJKToRAS with axes at right angles and unlike spacings."""
    turned, _ = np.linalg.qr(OBLIQUE[:3, :3])
    matrix = np.eye(4)
    matrix[:3, :3] = turned * [1.0, 2.0, 3.0] * (-1 if flipped else 1)
    matrix[:3, 3] = OBLIQUE[:3, 3]
    return matrix


def ijkToRAS(node: Any) -> np.ndarray:
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array(slicer.util.arrayFromVTKMatrix(matrix))


def expected(volume: Any) -> np.ndarray:
    """What the small engine's Grad-CAM gives."""
    import slicer

    values = slicer.util.arrayFromVolume(volume).astype(np.float32)
    return np.maximum(values - values.mean(), 0)


def test_first_run_lays_the_map_over_the_volume(panel: Any) -> None:
    import slicer

    volume = panel.addVolume()
    before = panel.red()
    mapNode = panel.apply()
    assert mapNode.GetName() == "head Grad-CAM enhancing"
    assert panel.foregrounds() == {mapNode.GetID()}
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert composite.GetBackgroundVolumeID() == volume.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.6)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(mapNode), expected(volume), rtol=1e-6)
    panel.host.click(panel.desk.displayPanel.ui.peakButton)
    assert colored(panel.red()) > colored(before) + 50


@pytest.mark.parametrize("matrix", [oblique(), oblique(flipped=True)], ids=["oblique", "left-handed"])
def test_map_lies_on_an_oblique_volume(panel: Any, matrix: np.ndarray) -> None:
    import slicer

    volume = panel.addVolume(ijkToRAS=matrix)
    mapNode = panel.apply()
    np.testing.assert_allclose(ijkToRAS(mapNode), matrix, atol=1e-12)
    assert mapNode.GetImageData().GetDimensions() == volume.GetImageData().GetDimensions()
    np.testing.assert_allclose(slicer.util.arrayFromVolume(mapNode), expected(volume), rtol=1e-6)
    assert slicer.modules.volumes.logic().CompareVolumeGeometry(volume, mapNode) == ""


def test_engine_sees_a_transformed_volume_where_it_is(panel: Any) -> None:
    import SimpleITK
    import slicer

    volume = panel.addVolume()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    turned = np.array([[0.0, -1.0, 0.0, 5.0], [1.0, 0.0, 0.0, -7.0], [0.0, 0.0, 1.0, 11.0], [0.0, 0.0, 0.0, 1.0]])
    slicer.util.updateTransformMatrixFromArray(transform, turned)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    mapNode = panel.apply()
    assert mapNode.GetTransformNodeID() == transform.GetID()
    np.testing.assert_allclose(ijkToRAS(mapNode), ijkToRAS(volume), atol=1e-12)
    image = SimpleITK.ReadImage(panel.requests("explain")[0]["volumes"][0])
    corner = np.array(image.TransformIndexToPhysicalPoint((3, 2, 1))) * [-1, -1, 1]  # LPS to RAS
    np.testing.assert_allclose(corner, (turned @ ijkToRAS(volume) @ [3, 2, 1, 1])[:3], atol=1e-9)


def test_a_transform_that_bends_is_refused_in_a_sentence(panel: Any) -> None:
    import slicer

    volume = panel.addVolume()
    grid = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "bent")
    volume.SetAndObserveTransformNodeID(grid.GetID())
    panel.press()
    assert "bends" in panel.message
    assert panel.node.mapVolume is None


def test_axes_that_are_not_at_right_angles_are_refused(panel: Any) -> None:
    sheared = np.diag([3.0, 3.0, 3.0, 1.0])
    sheared[0, 2] = 1.0
    panel.addVolume(ijkToRAS=sheared)
    panel.press()
    assert "right angles" in panel.message


def test_running_again_updates_the_same_map(panel: Any) -> None:
    import slicer

    volume = panel.addVolume()
    first = panel.apply()
    nodes, old = panel.count(), np.array(slicer.util.arrayFromVolume(first))
    slicer.util.arrayFromVolume(volume)[0, 0, 0] = 3000
    slicer.util.arrayFromVolumeModified(volume)
    second = panel.apply()
    assert second.GetID() == first.GetID()
    assert panel.count() == nodes
    assert not np.allclose(slicer.util.arrayFromVolume(second), old)


def test_another_question_gets_another_map_and_the_first_stays(panel: Any) -> None:
    panel.addVolume()
    first = panel.apply()
    panel.chooseMethod("Occlusion")
    second = panel.apply()
    assert second.GetID() != first.GetID()
    assert second.GetName() == "head Occlusion enhancing"
    assert panel.foregrounds() == {second.GetID()}
    panel.host.setCombo(panel.desk.displayPanel.ui.mapSelector, first.GetName())
    assert panel.foregrounds() == {first.GetID()}


def test_a_chosen_output_is_written_over(panel: Any) -> None:
    panel.addVolume()
    first = panel.apply()
    panel.node.outputVolume = first
    panel.chooseMethod("Occlusion")
    assert panel.apply().GetID() == first.GetID()
    assert first.GetAttribute("XAIExplain.Method") == "occlusion"


def test_the_map_says_how_it_was_made(panel: Any) -> None:
    volume = panel.addVolume()
    panel.chooseTarget("lesion (together)")
    mapNode = panel.apply()
    says = {name: mapNode.GetAttribute("XAIExplain." + name) for name in ("Method", "Target", "Model", "Volume")}
    assert says == {"Method": "grad_cam", "Target": "lesion", "Model": "brain-lesion", "Volume": "head"}
    assert mapNode.GetNodeReferenceID("XAIExplain.Volume") == volume.GetID()
    assert panel.requests("explain")[0]["target"] == "lesion"
    text = panel.desk.result.ui.figuresLabel.text
    assert "lesion" in text
    assert "adds up" in text
    assert "It is a test." in text


def test_the_map_goes_under_the_study_of_its_volume(panel: Any) -> None:
    import slicer

    volume = panel.addVolume()
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, volume)
    mapNode = panel.apply()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(mapNode)) == study


def test_logic_explains_without_the_panel(panel: Any) -> None:
    import slicer

    volume = panel.addVolume()
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    mapNode = panel.logic.explain(volume, method="occlusion", target="dark", parameters={"window": 4}, outputNode=own)
    assert mapNode.GetID() == own.GetID()
    assert mapNode.GetName() == "mine"
    asked = panel.requests("explain")[-1]
    assert (asked["method"], asked["target"], asked["parameters"]) == ("occlusion", "dark", {"window": 4})
    from XAIExplainLib.errors import XAIError

    with pytest.raises(XAIError, match="No volume"):
        panel.logic.explain(None)
    with pytest.raises(XAIError, match="written over the volume"):
        panel.logic.explain(volume, outputNode=volume)
