"""The part of the model's dialog that asks the network about a volume or an example."""

import qt
import slicer
from slicer.i18n import tr as _

from XAIExplainLib.errors import CancelledError, XAIError
from XAIExplainPanels import modelFindings, record
from XAIExplainPanels.answerBars import AnswerBars
from XAIExplainPanels.cases import caseTitle
from XAIExplainPanels.panel import clearLayout, comboData, fillCombo

EXAMPLE = "example:"
MOST = 8  # channels


class ModelTrial:
    """
    Choose a volume for each channel, and see the answer.

    :param dialog: the model's dialog.
    """

    def __init__(self, dialog):
        self.dialog = dialog
        self.ui = dialog.ui
        self.bars = AnswerBars(self.ui.tryBarsWidget)
        self.combos = []
        self._listed = None
        layout = qt.QVBoxLayout(self.ui.tryVolumesWidget)
        layout.setContentsMargins(0, 0, 0, 0)
        self._layout = layout
        self.ui.tryButton.connect("clicked(bool)", self.onTry)

    def refresh(self):
        """List the volumes for as many channels as the network takes."""
        found = self.dialog.found
        channels = max(1, min(int((found or {}).get("channels") or 1), MOST))
        entries = self._entries(channels)
        if self._listed != (channels, entries):
            self._listed = (channels, entries)
            self._make(channels, entries)
        self.ui.tryButton.enabled = bool(entries) and found is not None and not self.dialog.working

    def _entries(self, channels):
        volumes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                   if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not record.isMap(node)]
        entries = [(node.GetName(), node.GetID()) for node in volumes]
        if channels == 1:
            entries += [(_("Example: {title}").format(title=caseTitle(case)), EXAMPLE + name)
                        for name, case in self.dialog.desk.catalog.cases.items()]
        return entries

    def _make(self, channels, entries):
        chosen = self._chosen()
        clearLayout(self._layout)
        self.combos = []
        for channel in range(channels):
            combo = qt.QComboBox()
            combo.objectName = "tryComboBox%d" % channel
            combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(14)
            combo.toolTip = _("What the network is asked about.") if channels == 1 else _(
                "Channel {number} of the network's input.").format(number=channel + 1)
            fillCombo(combo, entries, chosen[channel] if channel < len(chosen) else None)
            combo.connect("currentIndexChanged(int)", lambda index: self.forget())
            self._layout.addWidget(combo)
            self.combos.append(combo)

    def _chosen(self):
        """What was chosen; at first, the volumes of the panel."""
        if self.combos:
            return [comboData(combo) for combo in self.combos]
        node = self.dialog.desk.parameterNode
        chosen = [] if node is None else [node.inputVolume, node.secondVolume, node.thirdVolume, node.fourthVolume]
        return [volume.GetID() if volume is not None else None for volume in chosen]

    def volumes(self):
        """
        What is asked about: volume nodes, or the name of an example.

        :raises XAIError: if a volume was deleted meanwhile.
        """
        chosen = [comboData(combo) for combo in self.combos]
        if len(chosen) == 1 and chosen[0] and chosen[0].startswith(EXAMPLE):
            return [chosen[0][len(EXAMPLE):]]
        nodes = [slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None for nodeID in chosen]
        if any(node is None for node in nodes):
            self.refresh()
            raise XAIError(_("A volume is missing."), _("Choose one for each channel."))
        return nodes

    def onTry(self, checked=False):
        dialog = self.dialog
        try:
            volumes, options = self.volumes(), dialog.values()
        except XAIError as error:
            self._onFailed(error)
            return
        dialog.ask(_("Asking the network..."), dialog.models.inspect, self._onAnswer, self._onFailed, dialog.path,
                   volumes=volumes, consent=dialog.consent, options=options, layers=False)

    def _onAnswer(self, found):
        if not self.dialog.found.get("outputs"):
            self.dialog.found["outputs"] = found.get("outputs")
        self.dialog.refresh()
        self._say(modelFindings.trialText(found["trial"]))
        self._showPictures(modelFindings.pictures(found["trial"]))
        self.bars.show(found["trial"]["prediction"])

    def _onFailed(self, error):
        self.dialog.refresh()
        self.bars.show(None)
        self._say("" if isinstance(error, CancelledError) else "{} {}".format(error.message, error.hint).strip())

    def forget(self):
        """The answer is about what was said before."""
        self.bars.show(None)
        self._say("")

    def _say(self, text):
        self.ui.tryMessageLabel.text = text
        self.ui.tryMessageLabel.visible = bool(text)
        self._showPictures("")

    def _showPictures(self, text):
        self.ui.tryPicturesLabel.text = text
        self.ui.tryPicturesLabel.visible = bool(text)
