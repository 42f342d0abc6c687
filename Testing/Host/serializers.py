"""How parameters become text in a parameter node (part of the stand-in for `slicer.parameterNodeWrapper`).

The names under which values are stored are those of Slicer's own, so that scenes can be exchanged.
"""

import enum
import json
import pathlib
import types
import typing
from typing import Annotated

import slicer
from PySide6 import QtGui

from .validators import Validator


def splitAnnotations(annotated):
    """The bare type and its annotations."""
    arguments = typing.get_args(Annotated[annotated, None])
    return arguments[0], arguments[1:-1]


def unannotatedType(annotated):
    return splitAnnotations(annotated)[0]


def findFirstAnnotation(annotations, kind):
    return next((a for a in annotations if isinstance(a, kind)), None)


def isUnion(kind):
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def isNodeType(kind):
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def isNodeOrUnionOfNodes(kind):
    kind = unannotatedType(kind)
    if isUnion(kind):
        return all(isNodeType(unannotatedType(k)) or k is type(None) for k in typing.get_args(kind))
    return isNodeType(kind)


def getNodeTypes(kind):
    kind = unannotatedType(kind)
    kinds = typing.get_args(kind) if isUnion(kind) else (kind,)
    return tuple(unannotatedType(k).__name__ for k in kinds if isNodeType(unannotatedType(k)))


class Serializer:
    """Writes values of one type under a name; this one is for everything that is a single text."""

    def __init__(self, kind, default, toText=str, fromText=None, accepts=None):
        self.kind, self._default = kind, default
        self._toText, self._fromText = toText, fromText or kind
        self._accepts = accepts or (kind,)

    def default(self):
        return self._default() if callable(self._default) else self._default

    def validate(self, value):
        if value is None:
            raise ValueError("Value must not be None")
        if not isinstance(value, self._accepts):
            raise TypeError(f"Value must be of type {self.kind}, is {type(value)} value {value!r}")

    def isIn(self, node, name):
        return node.HasParameter(name)

    def write(self, node, name, value):
        self.validate(value)
        node.SetParameter(name, self._toText(value))

    def read(self, node, name, owner=None):
        return self._fromText(node.GetParameter(name))

    def remove(self, node, name):
        node.UnsetParameter(name)


class NodeSerializer(Serializer):
    def __init__(self, kind):
        super().__init__(kind, None)

    def validate(self, value):
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"Value must be of type {self.kind}, is {type(value)}")

    def write(self, node, name, value):
        self.validate(value)
        # The empty parameter tells that the reference was set, be it to nothing.
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name, owner=None):
        return node.GetNodeReference(name)

    def remove(self, node, name):
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class Observed:
    """Mixed into list and dict: every change is written back at once."""

    def attach(self, save):
        self._save = save
        return self


def _observing(base, methods):
    def wrapped(method):
        def call(self, *args, **keywords):
            result = getattr(base, method)(self, *args, **keywords)
            if hasattr(self, "_save"):
                self._save(self)
            return result

        return call

    return type("Observed" + base.__name__.capitalize(), (Observed, base), {m: wrapped(m) for m in methods})


ObservedList = _observing(
    list,
    (
        "append",
        "extend",
        "insert",
        "remove",
        "pop",
        "clear",
        "sort",
        "reverse",
        "__setitem__",
        "__delitem__",
        "__iadd__",
        "__imul__",
    ),
)
ObservedDict = _observing(
    dict, ("__setitem__", "__delitem__", "pop", "popitem", "clear", "update", "setdefault")
)


class SequenceSerializer(Serializer):
    """Lists under name.len, name.0, name.1...; tuples, whose length is known, without name.len."""

    def __init__(self, kind, elements, repeated):
        super().__init__(kind, lambda: kind() if repeated else tuple(e.default() for e in elements))
        self.elements, self.repeated = elements, repeated

    def _element(self, index):
        return self.elements[0 if self.repeated else index]

    def _length(self, node, name):
        if not self.repeated:
            return len(self.elements)
        return int(node.GetParameter(f"{name}.len") or 0)

    def validate(self, value):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"Value must be a {self.kind.__name__}, is {value!r}")
        if not self.repeated and len(value) != len(self.elements):
            raise ValueError(f"Value must have {len(self.elements)} members, is {value!r}")
        for index, member in enumerate(value):
            self._element(index).validate(member)

    def isIn(self, node, name):
        return node.HasParameter(f"{name}.len") if self.repeated else self.elements[0].isIn(node, f"{name}.0")

    def write(self, node, name, value):
        self.validate(value)
        value = list(value)
        for index in range(len(value), self._length(node, name)):
            self._element(index).remove(node, f"{name}.{index}")
        for index, member in enumerate(value):
            self._element(index).write(node, f"{name}.{index}", member)
        if self.repeated:
            node.SetParameter(f"{name}.len", str(len(value)))

    def read(self, node, name, owner=None):
        values = [self._element(i).read(node, f"{name}.{i}") for i in range(self._length(node, name))]
        if not self.repeated:
            return tuple(values)
        return ObservedList(values).attach(
            lambda changed: owner(changed) if owner else self.write(node, name, changed)
        )

    def remove(self, node, name):
        for index in range(self._length(node, name)):
            self._element(index).remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")


class DictSerializer(Serializer):
    """As two lists, of keys and of values."""

    def __init__(self, keys, values):
        super().__init__(dict, dict)
        self.keys, self.values = (
            SequenceSerializer(list, [keys], True),
            SequenceSerializer(list, [values], True),
        )

    def validate(self, value):
        super().validate(value)
        self.keys.validate(list(value))
        self.values.validate(list(value.values()))

    def isIn(self, node, name):
        return self.keys.isIn(node, f"{name}.keys")

    def write(self, node, name, value):
        self.validate(value)
        self.keys.write(node, f"{name}.keys", list(value))
        self.values.write(node, f"{name}.values", list(value.values()))

    def read(self, node, name, owner=None):
        pairs = zip(
            self.keys.read(node, f"{name}.keys"), self.values.read(node, f"{name}.values"), strict=True
        )
        return ObservedDict(pairs).attach(lambda changed: self.write(node, name, changed))

    def remove(self, node, name):
        self.keys.remove(node, f"{name}.keys")
        self.values.remove(node, f"{name}.values")


class UnionSerializer(Serializer):
    """The first member type that accepts the value, under name.0, name.1..."""

    def __init__(self, kind, members):
        super().__init__(kind, lambda: members[0].default() if members else None)
        self.members = members

    def _memberFor(self, value):
        for index, member in enumerate(self.members):
            try:
                member.validate(value)
            except (TypeError, ValueError):
                continue
            return index, member
        raise TypeError(f"Value must be of type {self.kind}, is {value!r}")

    def validate(self, value):
        self._memberFor(value)

    def isIn(self, node, name):
        return any(m.isIn(node, f"{name}.{i}") for i, m in enumerate(self.members))

    def write(self, node, name, value):
        index, member = self._memberFor(value)
        self.remove(node, name)
        member.write(node, f"{name}.{index}", value)

    def read(self, node, name, owner=None):
        for index, member in enumerate(self.members):
            if member.isIn(node, f"{name}.{index}"):
                return member.read(node, f"{name}.{index}")
        raise ValueError(f"No value for {name}")

    def remove(self, node, name):
        for index, member in enumerate(self.members):
            if member.isIn(node, f"{name}.{index}"):
                member.remove(node, f"{name}.{index}")


class PackSerializer(Serializer):
    """A parameter pack: each member under name.member."""

    def __init__(self, kind):
        super().__init__(kind, kind)
        self.members = {n: p.serializer for n, p in kind.allParameters.items()}

    def isIn(self, node, name):
        return all(s.isIn(node, f"{name}.{n}") for n, s in self.members.items())

    def write(self, node, name, value):
        self.validate(value)
        for member, serializer in self.members.items():
            serializer.write(node, f"{name}.{member}", getattr(value, member))

    def read(self, node, name, owner=None):
        value = self.kind.__new__(self.kind)
        for member, serializer in self.members.items():
            value.__dict__["_pack_" + member] = serializer.read(node, f"{name}.{member}")
        value.__dict__["_save"] = lambda changed: self.write(node, name, changed)
        return value

    def remove(self, node, name):
        for member, serializer in self.members.items():
            serializer.remove(node, f"{name}.{member}")


class Validated(Serializer):
    """A serializer with the annotations' validators."""

    def __init__(self, serializer, validators):
        self.serializer, self.validators = serializer, [v() if isinstance(v, type) else v for v in validators]

    def __getattr__(self, name):
        return getattr(self.serializer, name)

    def default(self):
        return self.serializer.default()

    def isIn(self, node, name):
        return self.serializer.isIn(node, name)

    def remove(self, node, name):
        self.serializer.remove(node, name)

    def validate(self, value):
        self.serializer.validate(value)
        for validator in self.validators:
            validator.validate(value)

    def write(self, node, name, value):
        self.validate(value)
        self.serializer.write(node, name, value)

    def read(self, node, name, owner=None):
        return self.serializer.read(node, name, lambda changed: self.write(node, name, changed))


def _bareSerializer(kind):
    if kind in (int, float):
        return Serializer(kind, 0, accepts=(int, float) if kind is float else (int,))
    if kind is str:
        return Serializer(str, "")
    if kind is bool:
        return Serializer(bool, False, lambda v: "True" if v else "False", lambda text: text == "True")
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        return Serializer(kind, kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Serializer(kind, lambda: next(iter(kind)), lambda v: v.name, lambda text: kind[text])
    if kind is QtGui.QColor:
        return Serializer(kind, QtGui.QColor, lambda color: color.name(QtGui.QColor.HexArgb), QtGui.QColor)
    if kind is type(None):
        return Serializer(kind, None, lambda v: "", lambda text: None)
    if isNodeType(kind):
        return NodeSerializer(kind)
    if getattr(kind, "_isParameterPack", False):
        return PackSerializer(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list or kind is list:
        return SequenceSerializer(list, [serializerFor(arguments[0] if arguments else typing.Any)], True)
    if origin is tuple:
        return SequenceSerializer(tuple, [serializerFor(a) for a in arguments], False)
    if origin is dict:
        return DictSerializer(*[serializerFor(a) for a in arguments])
    if isUnion(kind):
        if isNodeOrUnionOfNodes(kind) and type(None) not in arguments:
            raise TypeError(f"A union of node types ends in None: {kind}")
        return UnionSerializer(kind, [_none() if a is type(None) else serializerFor(a) for a in arguments])
    if kind is typing.Any:
        return Serializer(object, None, json.dumps, json.loads, (object, type(None)))
    raise TypeError(f"Unable to create serializer for type: {kind}")


def _none():
    serializer = Serializer(type(None), None, lambda v: "", lambda text: None)

    def validate(value):
        if value is not None:
            raise ValueError("Value must be None")

    serializer.validate = validate
    return serializer


def serializerFor(annotated):
    kind, annotations = splitAnnotations(annotated)
    return Validated(_bareSerializer(kind), [a for a in annotations if _isValidator(a)])


def _isValidator(annotation):
    return (
        isinstance(annotation, Validator)
        or isinstance(annotation, type)
        and issubclass(annotation, Validator)
    )
