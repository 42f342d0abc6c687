"""PySide6 made to behave as PythonQt, the binding that Slicer's modules are written for.

`install()` changes PySide's classes once per process:

- Q_PROPERTYs read and assign like attributes (`label.text = "x"`, `button.enabled`), setters stay methods;
- `connect("clicked(bool)", f)` and `disconnect(...)` by signature; a callable gets no more arguments than it
  takes;
- `name`, `className()`, `delete()`, tuples for lists, class names as strings in `findChildren`, dynamic
  properties as attributes.

It is stricter than PythonQt where PythonQt hides a mistake: connecting a signal that does not exist raises
(PythonQt returns False), a bool property refuses what is neither bool nor number (PythonQt takes False). It
is as strict as PythonQt with new attributes on Qt widgets and with keyword construction.
"""

import inspect
import re

from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import Shiboken

# Virtual functions: an attribute in their place would be called by C++.
_VIRTUAL = {"sizeHint", "minimumSizeHint", "duration"}
# What PySide or this package keep in the instance dictionary for themselves.
_OWN_NAMES = {"_d", "__METAOBJECT__"}

_installed = False
_connections = {}
_native = {}


class PropertyAttribute:
    """A Q_PROPERTY as a data descriptor; the class itself still gives the native method."""

    def __init__(self, name, typeName, writable, native, getter, setter):
        self.name, self.typeName, self.writable = name, typeName, writable
        self.native, self.getter, self.setter = native, getter, setter

    def __get__(self, instance, owner=None):
        if instance is None:
            return self.native if self.native is not None else self
        if self.getter is not None:
            return _tupled(self.getter(instance))
        return _tupled(QtCore.QObject.property(instance, self.name))

    def __set__(self, instance, value):
        if not self.writable:
            raise AttributeError(f"Property '{self.name}' is read-only in {type(instance).__name__} object")
        value = _converted(self.name, self.typeName, value)
        try:
            if self.setter is not None:
                self.setter(instance, value)
            elif not QtCore.QObject.setProperty(instance, self.name, value):
                raise TypeError
        except TypeError:
            raise AttributeError(
                f"Property '{self.name}' of type '{self.typeName}' in {type(instance).__name__} object "
                f"does not accept an object of type {type(value).__name__} ({value!r})"
            ) from None


def _converted(name, typeName, value):
    """`value` as PythonQt would convert it for a property of that type."""
    if typeName == "bool":
        if not isinstance(value, (bool, int, float)) and type(value).__name__ not in ("bool_", "bool"):
            raise AttributeError(
                f"Property '{name}' needs a bool; PythonQt silently makes False of {value!r}"
            )
        return bool(value)
    if typeName == "int":
        return int(value) if isinstance(value, float) or hasattr(value, "__index__") else value
    if typeName == "double" and hasattr(value, "__float__"):
        return float(value)
    if typeName == "QString" and not isinstance(value, str):
        # PythonQt shows str(value), and so "None" for None.
        if not isinstance(value, (int, float)):
            raise AttributeError(f"Property '{name}' of type 'QString' does not accept {value!r}")
        return str(value)
    if typeName == "QStringList" and isinstance(value, tuple):
        return list(value)
    return value


_substituteProperties = {}


def substituteProperty(typeName, getter, setter=None):
    """A Q_PROPERTY of a substitute class, with PythonQt's conversions; `typeName` as in C++."""
    kind = {"bool": bool, "int": int, "double": float, "QString": str, "QStringList": "QStringList"}.get(
        typeName, object
    )
    made = QtCore.Property(kind, getter, setter)
    _substituteProperties[made] = typeName
    return made


def _tupled(value):
    return tuple(value) if isinstance(value, list) else value


def _setterFor(cls, name):
    setter = getattr(cls, "set" + name[0].upper() + name[1:], None)
    return setter or {"pos": getattr(cls, "move", None), "size": getattr(cls, "resize", None)}.get(name)


def _bindable(method):
    """Static accessors (those of QApplication) take no instance."""
    if type(method).__name__ == "builtin_function_or_method":
        return lambda instance, *values: method(*values)
    return method


def _patchProperties(cls):
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        prop = meta.property(index)
        name = prop.name()
        if name in _VIRTUAL:
            continue
        native = inspect.getattr_static(cls, name, None)
        if isinstance(native, PropertyAttribute):
            native = native.native
        elif native is not None:
            native = getattr(cls, name)
        if isinstance(native, QtCore.Signal):
            continue
        getter = _bindable(getattr(cls, "is" + name[0].upper() + name[1:], None) or native)
        setter = _bindable(_setterFor(cls, name)) if prop.isWritable() else None
        setattr(
            cls, name, PropertyAttribute(name, prop.typeName(), prop.isWritable(), native, getter, setter)
        )


def _isSubstitute(cls):
    """Stands for a C++ class (Qt's own, or one of the ctk/qMRML substitutes)?"""
    return cls.__module__.startswith("PySide6") or "IS_SUBSTITUTE" in cls.__dict__


def _setAttribute(self, name, value):
    cls = type(self)
    found = None
    for base in cls.__mro__:
        if name in base.__dict__:
            found = base.__dict__[name]
            break
    if found is not None and hasattr(type(found), "__set__"):
        type(found).__set__(found, self, value)
    elif isinstance(found, QtCore.Property):
        if found.fset is None:
            raise AttributeError(f"Property '{name}' is read-only in {cls.__name__} object")
        typeName = _substituteProperties.get(found, "")
        value = _converted(name, typeName, value)
        if typeName == "double" and not isinstance(value, float):
            raise AttributeError(f"Property '{name}' of type '{typeName}' does not accept {value!r}")
        found.fset(self, value)
    elif not _isSubstitute(cls) or name in _OWN_NAMES or isinstance(value, QtCore.SignalInstance):
        # PySide keeps the bound signals of some objects in this way.
        self.__dict__[name] = value
    elif name.encode() in [bytes(n.data()) for n in self.dynamicPropertyNames()]:
        self.setProperty(name, value)
    elif found is not None:
        raise AttributeError(f"'{name}' can not be overwritten on {cls.__name__} object")
    else:
        raise AttributeError(f"'{cls.__name__}' object has no attribute '{name}' and none can be added to it")


def _missingAttribute(self, name):
    if not name.startswith("_") and Shiboken.isValid(self):
        value = _native["property"](self, name)
        if value is not None:
            return _tupled(value)
    raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


def _guardConstruction(cls):
    original = cls.__init__

    def construct(self, *args, **keywords):
        if keywords and type(self) is cls:
            raise ValueError(f"{cls.__name__}: PythonQt takes no keyword arguments: {', '.join(keywords)}")
        original(self, *args, **keywords)

    cls.__init__ = construct


# Signals and slots


def _normalized(signature):
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


def findSignal(sender, signature):
    """(bound PySide signal, number of arguments) for a signature such as "clicked(bool)"; raises if none."""
    wanted = _normalized(signature)
    name, _, rest = wanted.partition("(")
    declared = getattr(type(sender), "SIGNALS", {})
    count = 0 if rest in (")", "") else rest.count(",") + 1
    if wanted in declared:
        return getattr(sender, declared[wanted]), count
    if sender.metaObject().indexOfSignal(wanted) < 0:
        known = [
            bytes(sender.metaObject().method(i).methodSignature().data()).decode()
            for i in range(sender.metaObject().methodCount())
            if sender.metaObject().method(i).methodType() == QtCore.QMetaMethod.MethodType.Signal
        ]
        near = [s for s in known + sorted(declared) if s.split("(")[0].lower() == name.lower()] or sorted(
            declared
        )
        raise RuntimeError(
            f"{sender.metaObject().className()} has no signal {wanted}"
            + (f" (there is {', '.join(near)})" if near else "")
        )
    signal = getattr(sender, name)
    if isinstance(signal, QtCore.SignalInstance):
        try:
            signal = signal[rest[:-1]] if rest != ")" else signal
        except (IndexError, KeyError, TypeError):
            pass
    return signal, count


def _capacity(function):
    """How many arguments PythonQt would pass: by the code object of a function or method, else all."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - (1 if inspect.ismethod(function) else 0)


def _slotFor(args):
    if len(args) == 1 and callable(args[0]):
        return args[0]
    if len(args) == 2 and isinstance(args[1], str):
        return getattr(args[0], re.split(r"\(", args[1])[0])
    if len(args) == 2 and callable(args[1]):
        return args[1]
    raise TypeError("connect(signal, callable) or connect(signal, receiver, slot)")


def connect(sender, signature, *args):
    """`sender.connect("signal(types)", callable)`: True, or RuntimeError when there is no such signal."""
    slot = _slotFor(args)
    signal, count = findSignal(sender, signature)
    capacity = _capacity(slot)
    number = count if capacity is None else min(count, capacity)

    def relay(*values):
        slot(*values[:number])

    signal.connect(relay)
    key = (Shiboken.getCppPointer(sender)[0], _normalized(signature))
    if not any(k[0] == key[0] for k in _connections):
        _native["destroyed"](sender).connect(lambda *_: _forget(key[0]))
    _connections.setdefault(key, []).append((slot, signal, relay))
    return True


def disconnect(sender, signature=None, *args):
    """Undo `connect`; without a callable, every connection made to that signal through `connect`."""
    pointer = Shiboken.getCppPointer(sender)[0]
    slot = _slotFor(args) if args else None
    if signature is not None:
        findSignal(sender, signature)
    done = False
    for key in [k for k in _connections if k[0] == pointer]:
        if signature is not None and key[1] != _normalized(signature):
            continue
        for entry in list(_connections[key]):
            if slot is None or entry[0] == slot:
                entry[1].disconnect(entry[2])
                _connections[key].remove(entry)
                done = True
                if slot is not None:
                    break
    return done


def _forget(pointer):
    for key in [k for k in _connections if k[0] == pointer]:
        del _connections[key]


# Object tree


def _descendants(parent, name):
    # An empty name given to Qt would find only the nameless.
    return _native["findChildren"](parent, QtCore.QObject, *([name] if name else []))


def findChildren(parent, kind=None, name=""):
    """`findChildren(class or "ClassName" or nothing, name)`: a tuple, as PythonQt gives."""
    if isinstance(kind, str):
        wanted = kind
        return tuple(
            c for c in _descendants(parent, name) if c.inherits(wanted) or type(c).__name__ == wanted
        )
    if kind is None or not issubclass(kind, QtCore.QObject):
        kind = QtCore.QObject
    return tuple(c for c in _descendants(parent, name) if isinstance(c, kind))


def findChild(parent, kind=None, name=""):
    found = findChildren(parent, kind, name)
    return found[0] if found else None


def strayAttributes(widget):
    """Attributes that module code put on Qt objects below `widget` (PythonQt would have refused them)."""
    stray = []
    for item in (widget, *findChildren(widget)):
        if _isSubstitute(type(item)):
            stray += [
                f"{type(item).__name__} '{item.objectName}': {key}"
                for key, value in vars(item).items()
                if key not in _OWN_NAMES and not isinstance(value, QtCore.SignalInstance)
            ]
    return stray


def suspectIdioms(path):
    """Lines of a module file that PythonQt takes differently from PySide, in a way no patch can show."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    patterns = {
        r"isinstance\([^)]*\b(qt|ctk)\.": "isinstance with a Qt base class is False in PythonQt",
        r"(currentIndexChanged|activated)\(QString\)": "Qt 5 only",
        r"from PySide|import PySide|\bqt\.(QtCore|QtWidgets|QtGui)\b": "PythonQt has one flat module qt",
        r"@qt\.Slot": "not in PythonQt",
        r"\b(text|toolTip|value|checked|currentIndex|currentText|enabled)\(\)\s*[=!<>]=": "a property",
    }
    return [
        f"{number}: {why}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        for pattern, why in patterns.items()
        if re.search(pattern, line)
    ]


def qtClasses():
    """All QObject classes of PySide's three main modules, bases first."""
    found = [getattr(module, name) for module in (QtCore, QtGui, QtWidgets) for name in dir(module)]
    classes = {c for c in found if isinstance(c, type) and issubclass(c, QtCore.QObject)}
    return sorted(classes, key=lambda c: (len(c.__mro__), c.__name__))


def install():
    """Patch PySide's classes; later calls do nothing."""
    global _installed
    if _installed:
        return
    _installed = True
    base = QtCore.QObject
    _native.update(
        findChildren=base.findChildren,
        property=base.property,
        children=base.children,
        destroyed=lambda o: o.destroyed,
    )
    replaced = {
        "connect": connect,
        "disconnect": disconnect,
        "findChildren": findChildren,
        "findChild": findChild,
        "children": lambda self: tuple(_native["children"](self)),
        "property": lambda self, name: _tupled(_native["property"](self, name)),
    }

    def attributeLookup(lookup):
        def attribute(self, name):
            method = replaced.get(name)
            return method.__get__(self) if method is not None else lookup(self, name)

        return attribute

    classes = qtClasses()
    for cls in classes:
        _patchProperties(cls)
    for cls in classes:
        cls.__setattr__ = _setAttribute
        if issubclass(cls, QtWidgets.QWidget):
            _guardConstruction(cls)
    for cls in classes:
        # Some classes (QProcess, QMenu) look attributes up in their own way, not as QObject does.
        if "__getattribute__" in cls.__dict__:
            cls.__getattribute__ = attributeLookup(cls.__getattribute__)
            cls.__getattr__ = _missingAttribute
    base.className = lambda self: self.metaObject().className()
    base.delete = lambda self: Shiboken.delete(self)
    base.name = base.__dict__["objectName"]
    for cls in (QtWidgets.QDialog, QtWidgets.QApplication, QtWidgets.QMenu, QtCore.QEventLoop):
        if not hasattr(cls, "exec_"):
            cls.exec_ = cls.exec
