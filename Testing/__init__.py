"""Tests of the engine and of the module; `Host` is the little Slicer the module runs in."""
