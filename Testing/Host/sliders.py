"""Substitutes for CTK's widgets of a number or a range: ctkSliderWidget, ctkRangeWidget and their parts."""

from types import SimpleNamespace

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import substituteProperty as prop

_STEPS = 100000


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    """QDoubleSpinBox with CTK's options; text follows the locale C."""

    IS_SUBSTITUTE = True
    FixedDecimals, DecimalsByKey, DecimalsByShortcuts, DecimalsAsMin = 0, 1, 2, 16
    SetAlways, SetIfDifferent = 0, 1

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace(option=0)
        self.setLocale(QtCore.QLocale.c())
        self.setKeyboardTracking(False)

    def setDecimalsOption(self, option):
        self._d.option = option

    decimalsOption = prop("int", lambda self: self._d.option, setDecimalsOption)

    def setValueIfDifferent(self, value):
        if value != self.value:
            self.setValue(value)


class ctkDoubleSlider(QtWidgets.QWidget):
    """A slider over real numbers."""

    IS_SUBSTITUTE = True
    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    sliderMoved = QtCore.Signal(float)
    sliderPressed = QtCore.Signal()
    sliderReleased = QtCore.Signal()
    rangeChanged = QtCore.Signal(float, float)

    def __init__(self, *args):
        super().__init__(args[-1] if args and isinstance(args[-1], QtWidgets.QWidget) else None)
        orientation = args[0] if args and isinstance(args[0], QtCore.Qt.Orientation) else QtCore.Qt.Horizontal
        slider = QtWidgets.QSlider(orientation, self)
        self._d = SimpleNamespace(
            slider=slider, minimum=0.0, maximum=99.0, value=0.0, step=1.0, page=10.0, tracking=True
        )
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(slider)
        slider.setRange(0, _STEPS)
        slider.setFocusPolicy(QtCore.Qt.StrongFocus)
        self.setFocusProxy(slider)
        slider.valueChanged.connect(self._moved)
        slider.sliderPressed.connect(self.sliderPressed)
        slider.sliderReleased.connect(self._released)
        self._updateSteps()

    def _moved(self, position):
        d = self._d
        value = d.minimum + (d.maximum - d.minimum) * position / _STEPS
        if d.step > 0:
            value = d.minimum + round((value - d.minimum) / d.step) * d.step
        value = min(max(value, d.minimum), d.maximum)
        if d.slider.isSliderDown():
            self.sliderMoved.emit(value)
            if not d.tracking:
                self.valueIsChanging.emit(value)
                return
        if value != d.value:
            d.value = value
            self.valueChanged.emit(value)

    def _released(self):
        self._moved(self._d.slider.value)
        self.sliderReleased.emit()

    def _updateSteps(self):
        d = self._d
        span = max(d.maximum - d.minimum, 1e-12)
        d.slider.setSingleStep(max(1, round(_STEPS * d.step / span)))
        d.slider.setPageStep(max(1, round(_STEPS * d.page / span)))
        wasBlocked = d.slider.blockSignals(True)
        d.slider.setValue(round(_STEPS * (d.value - d.minimum) / span))
        d.slider.blockSignals(wasBlocked)

    def setValue(self, value):
        value = min(max(float(value), self._d.minimum), self._d.maximum)
        changed = value != self._d.value
        self._d.value = value
        self._updateSteps()
        if changed:
            self.valueChanged.emit(value)

    def setRange(self, minimum, maximum):
        d = self._d
        changed = (minimum, maximum) != (d.minimum, d.maximum)
        d.minimum, d.maximum = float(minimum), float(max(minimum, maximum))
        if changed:
            self.rangeChanged.emit(d.minimum, d.maximum)
        self.setValue(d.value)

    def setMinimum(self, value):
        self.setRange(value, max(value, self._d.maximum))

    def setMaximum(self, value):
        self.setRange(min(value, self._d.minimum), value)

    def setSingleStep(self, step):
        self._d.step = step
        self._updateSteps()

    def setPageStep(self, step):
        self._d.page = step
        self._updateSteps()

    def setTracking(self, tracking):
        self._d.tracking = tracking

    value = prop("double", lambda self: self._d.value, setValue)
    minimum = prop("double", lambda self: self._d.minimum, setMinimum)
    maximum = prop("double", lambda self: self._d.maximum, setMaximum)
    singleStep = prop("double", lambda self: self._d.step, setSingleStep)
    pageStep = prop("double", lambda self: self._d.page, setPageStep)
    tracking = prop("bool", lambda self: self._d.tracking, setTracking)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that show the same number."""

    IS_SUBSTITUTE = True
    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    rangeChanged = QtCore.Signal(float, float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace(
            slider=ctkDoubleSlider(self), spinBox=ctkDoubleSpinBox(self), tracking=True, changing=None
        )
        d = self._d
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(d.slider, 1)
        layout.addWidget(d.spinBox)
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Fixed)
        d.spinBox.setRange(0.0, 99.0)
        d.slider.valueChanged.connect(self._fromSlider)
        d.spinBox.valueChanged.connect(self._fromSpinBox)
        d.slider.sliderReleased.connect(self._released)

    def _fromSlider(self, value):
        d = self._d
        wasBlocked = d.spinBox.blockSignals(True)
        d.spinBox.setValue(value)
        d.spinBox.blockSignals(wasBlocked)
        if not d.tracking and d.slider._d.slider.isSliderDown():
            d.changing = value
            self.valueIsChanging.emit(value)
        else:
            self.valueChanged.emit(value)

    def _fromSpinBox(self, value):
        wasBlocked = self._d.slider.blockSignals(True)
        self._d.slider.setValue(value)
        self._d.slider.blockSignals(wasBlocked)
        self.valueChanged.emit(value)

    def _released(self):
        if self._d.changing is not None:
            self._d.changing = None
            self.valueChanged.emit(self._d.slider.value)

    def slider(self):
        return self._d.slider

    def spinBox(self):
        return self._d.spinBox

    def setValue(self, value):
        if value != self._d.spinBox.value or value != self._d.slider.value:
            wasBlocked = self._d.slider.blockSignals(True)
            self._d.spinBox.setValue(value)
            self._d.slider.setValue(self._d.spinBox.value)
            self._d.slider.blockSignals(wasBlocked)

    def setRange(self, minimum, maximum):
        before = self.value
        for part in (self._d.slider, self._d.spinBox):
            wasBlocked = part.blockSignals(True)
            part.setRange(minimum, maximum)
            part.blockSignals(wasBlocked)
        self.rangeChanged.emit(minimum, maximum)
        if self.value != before:
            self.valueChanged.emit(self.value)

    def setMinimum(self, value):
        self.setRange(value, max(value, self.maximum))

    def setMaximum(self, value):
        self.setRange(min(value, self.minimum), value)

    def setSingleStep(self, step):
        self._d.slider.setSingleStep(step)
        self._d.spinBox.setSingleStep(step)

    def setPageStep(self, step):
        self._d.slider.setPageStep(step)

    def setDecimals(self, decimals):
        self._d.spinBox.setDecimals(decimals)

    def setPrefix(self, text):
        self._d.spinBox.setPrefix(text)

    def setSuffix(self, text):
        self._d.spinBox.setSuffix(text)

    def setTracking(self, tracking):
        self._d.tracking = tracking

    def setSpinBoxVisible(self, visible):
        self._d.spinBox.setVisible(visible)

    def reset(self):
        self.setValue(0.0)

    value = prop("double", lambda self: self._d.spinBox.value, setValue)
    minimum = prop("double", lambda self: self._d.slider.minimum, setMinimum)
    maximum = prop("double", lambda self: self._d.slider.maximum, setMaximum)
    singleStep = prop("double", lambda self: self._d.slider.singleStep, setSingleStep)
    pageStep = prop("double", lambda self: self._d.slider.pageStep, setPageStep)
    decimals = prop("int", lambda self: self._d.spinBox.decimals, setDecimals)
    prefix = prop("QString", lambda self: self._d.spinBox.prefix, setPrefix)
    suffix = prop("QString", lambda self: self._d.spinBox.suffix, setSuffix)
    tracking = prop("bool", lambda self: self._d.tracking, setTracking)
    spinBoxVisible = prop("bool", lambda self: not self._d.spinBox.isHidden(), setSpinBoxVisible)


class ctkDoubleRangeSlider(QtWidgets.QWidget):
    """Two handles on one groove."""

    IS_SUBSTITUTE = True
    valuesChanged = QtCore.Signal(float, float)
    minimumValueChanged = QtCore.Signal(float)
    maximumValueChanged = QtCore.Signal(float)
    rangeChanged = QtCore.Signal(float, float)

    def __init__(self, *args):
        super().__init__(args[-1] if args and isinstance(args[-1], QtWidgets.QWidget) else None)
        self._d = SimpleNamespace(minimum=0.0, maximum=99.0, low=0.0, high=99.0, step=1.0, held=None)
        self.setMinimumSize(60, 18)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)

    def setValues(self, low, high):
        d = self._d
        low, high = (min(max(float(v), d.minimum), d.maximum) for v in (min(low, high), max(low, high)))
        before, d.low, d.high = (d.low, d.high), low, high
        self.update()
        if before[0] != low:
            self.minimumValueChanged.emit(low)
        if before[1] != high:
            self.maximumValueChanged.emit(high)
        if before != (low, high):
            self.valuesChanged.emit(low, high)

    def setRange(self, minimum, maximum):
        d = self._d
        if (minimum, maximum) != (d.minimum, d.maximum):
            d.minimum, d.maximum = float(minimum), float(maximum)
            self.rangeChanged.emit(d.minimum, d.maximum)
        self.setValues(d.low, d.high)

    def setSingleStep(self, step):
        self._d.step = step

    minimum = prop(
        "double", lambda self: self._d.minimum, lambda self, v: self.setRange(v, max(v, self._d.maximum))
    )
    maximum = prop(
        "double", lambda self: self._d.maximum, lambda self, v: self.setRange(min(v, self._d.minimum), v)
    )
    minimumValue = prop(
        "double", lambda self: self._d.low, lambda self, v: self.setValues(v, max(v, self._d.high))
    )
    maximumValue = prop(
        "double", lambda self: self._d.high, lambda self, v: self.setValues(min(v, self._d.low), v)
    )
    singleStep = prop("double", lambda self: self._d.step, setSingleStep)

    def _position(self, value):
        span = max(self._d.maximum - self._d.minimum, 1e-12)
        return 7 + (self.width - 14) * (value - self._d.minimum) / span

    def _valueAt(self, x):
        d = self._d
        value = d.minimum + (d.maximum - d.minimum) * (x - 7) / max(self.width - 14, 1)
        return d.minimum + round((value - d.minimum) / d.step) * d.step if d.step > 0 else value

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.Antialiasing)
        palette, middle = self.palette, self.height / 2
        low, high = self._position(self._d.low), self._position(self._d.high)
        painter.setPen(QtCore.Qt.NoPen)
        painter.setBrush(palette.color(QtGui.QPalette.Dark))
        painter.drawRoundedRect(QtCore.QRectF(4, middle - 2, self.width - 8, 4), 2, 2)
        painter.setBrush(palette.color(QtGui.QPalette.Highlight))
        painter.drawRect(QtCore.QRectF(low, middle - 2, high - low, 4))
        painter.setPen(palette.color(QtGui.QPalette.Shadow))
        painter.setBrush(palette.color(QtGui.QPalette.Button).lighter(130))
        for x in (low, high):
            painter.drawRoundedRect(QtCore.QRectF(x - 4.5, middle - 7, 9, 14), 2, 2)

    def mousePressEvent(self, event):
        x = event.position().x()
        near = abs(x - self._position(self._d.low)) <= abs(x - self._position(self._d.high))
        self._d.held = "low" if near else "high"

    def mouseMoveEvent(self, event):
        value = self._valueAt(event.position().x())
        if self._d.held == "low":
            self.setValues(min(value, self._d.high), self._d.high)
        elif self._d.held == "high":
            self.setValues(self._d.low, max(value, self._d.low))

    def mouseReleaseEvent(self, event):
        self._d.held = None


class ctkRangeWidget(QtWidgets.QWidget):
    """A range slider between two spin boxes."""

    IS_SUBSTITUTE = True
    valuesChanged = QtCore.Signal(float, float)
    minimumValueChanged = QtCore.Signal(float)
    maximumValueChanged = QtCore.Signal(float)
    rangeChanged = QtCore.Signal(float, float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._d = SimpleNamespace(
            slider=ctkDoubleRangeSlider(self), low=ctkDoubleSpinBox(self), high=ctkDoubleSpinBox(self)
        )
        d = self._d
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part, stretch in ((d.low, 0), (d.slider, 1), (d.high, 0)):
            layout.addWidget(part, stretch)
        self.setRange(0.0, 99.0)
        self.setValues(0.0, 99.0)
        d.slider.valuesChanged.connect(self._fromSlider)
        d.low.valueChanged.connect(lambda v: self.setValues(v, max(v, self._d.high.value)))
        d.high.valueChanged.connect(lambda v: self.setValues(min(v, self._d.low.value), v))

    def _fromSlider(self, low, high):
        changed = (low != self._d.low.value, high != self._d.high.value)
        for box, value in ((self._d.low, low), (self._d.high, high)):
            wasBlocked = box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(wasBlocked)
        if changed[0]:
            self.minimumValueChanged.emit(low)
        if changed[1]:
            self.maximumValueChanged.emit(high)
        self.valuesChanged.emit(low, high)

    def slider(self):
        return self._d.slider

    def minimumSpinBox(self):
        return self._d.low

    def maximumSpinBox(self):
        return self._d.high

    def setValues(self, low, high):
        self._d.slider.setValues(low, high)

    def setRange(self, minimum, maximum):
        for part in (self._d.low, self._d.high):
            wasBlocked = part.blockSignals(True)
            part.setRange(minimum, maximum)
            part.blockSignals(wasBlocked)
        self._d.slider.setRange(minimum, maximum)
        self.rangeChanged.emit(minimum, maximum)

    def setSingleStep(self, step):
        for part in (self._d.slider, self._d.low, self._d.high):
            part.setSingleStep(step)

    def setDecimals(self, decimals):
        self._d.low.setDecimals(decimals)
        self._d.high.setDecimals(decimals)

    def setSuffix(self, text):
        self._d.low.setSuffix(text)
        self._d.high.setSuffix(text)

    minimum = prop(
        "double", lambda self: self._d.slider.minimum, lambda self, v: self.setRange(v, max(v, self.maximum))
    )
    maximum = prop(
        "double", lambda self: self._d.slider.maximum, lambda self, v: self.setRange(min(v, self.minimum), v)
    )
    minimumValue = prop(
        "double",
        lambda self: self._d.slider.minimumValue,
        lambda self, v: self.setValues(v, max(v, self.maximumValue)),
    )
    maximumValue = prop(
        "double",
        lambda self: self._d.slider.maximumValue,
        lambda self, v: self.setValues(min(v, self.minimumValue), v),
    )
    singleStep = prop("double", lambda self: self._d.slider.singleStep, setSingleStep)
    decimals = prop("int", lambda self: self._d.low.decimals, setDecimals)
    suffix = prop("QString", lambda self: self._d.low.suffix, setSuffix)
