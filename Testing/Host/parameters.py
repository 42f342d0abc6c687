"""Stand-in for `slicer.parameterNodeWrapper`: typed parameters, kept as text in a parameter node.

The wheel does not ship Slicer's own. This one keeps its rules: the names under which values are stored, the
defaults, validators that raise, containers that write themselves back when they are changed.
"""

import dataclasses
import typing

from .serializers import Serializer, findFirstAnnotation, serializerFor, splitAnnotations, unannotatedType


class Default:
    """Annotation: the value that a parameter has at first."""

    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


@dataclasses.dataclass
class ParameterInfo:
    basename: str
    serializer: Serializer
    default: Default
    unalteredType: object


def describe(cls):
    """Name to ParameterInfo for the annotated members of a class."""
    found = {}
    for name, annotated in typing.get_type_hints(cls, include_extras=True).items():
        kind, annotations = splitAnnotations(annotated)
        try:
            serializer = serializerFor(annotated)
        except Exception as error:
            raise Exception(f"Unable to create serializer for {cls} member {name}") from error
        default = findFirstAnnotation(annotations, Default)
        if name in cls.__dict__:
            default = Default(cls.__dict__[name])
        found[name] = ParameterInfo(
            name, serializer, default or Default(generator=serializer.default), annotated
        )
    return found


def parameterPack(cls=None):
    """Class decorator: several parameters that belong together."""
    if cls is None:
        return parameterPack
    cls.allParameters = describe(cls)
    cls._isParameterPack = True
    own = cls.__dict__.get("__init__")

    def member(name, serializer):
        def write(self, value):
            serializer.validate(value)
            self.__dict__["_pack_" + name] = value
            if "_save" in self.__dict__:
                self._save(self)

        return property(lambda self: self.__dict__["_pack_" + name], write)

    def initialize(self, *args, **keywords):
        for name, info in cls.allParameters.items():
            setattr(self, name, info.default.value)
        if own is not None:
            own(self, *args, **keywords)
            return
        for name, value in {**dict(zip(cls.allParameters, args, strict=False)), **keywords}.items():
            if name not in cls.allParameters:
                raise TypeError(f"{cls.__name__} has no member '{name}'")
            setattr(self, name, value)

    for name, info in cls.allParameters.items():
        setattr(cls, name, member(name, info.serializer))
    cls.__init__ = initialize
    cls.getValue = lambda self, name: _reach(self, name)
    cls.setValue = lambda self, name, value: _assign(self, name, value)
    cls.dataType = classmethod(lambda c, name: dataType(c, name))
    if cls.__eq__ is object.__eq__:
        cls.__eq__ = lambda a, b: (
            isinstance(b, cls) and all(getattr(a, n) == getattr(b, n) for n in cls.allParameters)
        )
        cls.__hash__ = None
    return cls


def _reach(thing, dotted):
    for name in dotted.split("."):
        thing = getattr(thing, name)
    return thing


def _assign(thing, dotted, value):
    *path, last = dotted.split(".")
    setattr(_reach(thing, ".".join(path)) if path else thing, last, value)


def dataType(cls, dotted):
    name, _, rest = dotted.partition(".")
    if name not in cls.allParameters:
        raise ValueError(f"{cls.__name__} has no parameter '{name}', only {', '.join(cls.allParameters)}")
    kind = cls.allParameters[name].unalteredType
    return dataType(unannotatedType(kind), rest) if rest else kind


def nestedParameterNames(pack):
    names = []
    for name, info in unannotatedType(pack).allParameters.items():
        kind = unannotatedType(info.unalteredType)
        inner = nestedParameterNames(kind) if getattr(kind, "_isParameterPack", False) else []
        names += [f"{name}.{i}" for i in inner] or [name]
    return names


@parameterPack
class FloatRange:
    """A minimum and a maximum, in that order."""

    minimum: float
    maximum: float

    def __init__(self, minimum=0.0, maximum=0.0):
        if minimum > maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {minimum} <= {maximum}")
        self.minimum, self.maximum = minimum, maximum

    def setRange(self, minimum, maximum):
        self.__init__(minimum, maximum)
